"""What a deletion could not finish is finished later, and never undone: neither by time, by another, nor by damage."""

import os
import threading
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from serving.prediction_log import rewriting, rotation
from serving.prediction_log.columns import Labels, feedback_batch, records_batch
from serving.prediction_log.deleting import delete_client
from serving.prediction_log.deletions import FOLDER, delete_until, deletions
from serving.prediction_log.journal import Journal
from serving.prediction_log.labels import with_records
from serving.prediction_log.parquet import read_parquet
from serving.prediction_log.places import journal_path, journals, rotated
from serving.prediction_log.reading import read_records
from serving.prediction_log.retention import prune
from serving.prediction_log.rotation import rotate_abandoned, write_rotated
from serving.prediction_log.schema import FEEDBACK, RECORDS, schema
from slipway.errors import IntegrityError, UnavailableError
from tests.serving.prediction_log.answers import START_US, answer

LATER_US = START_US + 8 * 86_400 * 1_000_000  # when a deletion of now would be forgotten
NAMES = {"ada": "a" * 32, "bob": "b" * 32, "eve": "e" * 32}


def stem(place):
    return f"{place:016x}-000001"


def lie(folder, place, numbers, *, whose, journal=False):
    """Answers of those numbers, a second apart, and a label of each, as one server's; `whose` a number is."""
    answers = [answer(number, time_us=moment_us(number), client=whose(number)) for number in numbers]
    labels = [Labels(each.time_us, "m", each.request_id, (0,)) for each in answers]
    (folder / "m").mkdir(exist_ok=True)
    for kind, batch in ((RECORDS, records_batch(answers, NAMES.get)), (FEEDBACK, feedback_batch(labels))):
        if journal:
            written = Journal(journal_path(folder / "m", stem(place), kind), schema(kind))
            written.append(batch)
            written.close()
        else:
            write_rotated(folder / "m", kind, stem(place), pa.Table.from_batches([batch]))


def moment_us(number):
    return START_US + number * 1_000_000


def on_disk(folder, kind=RECORDS):
    """The numbers of the answers in files, whatever a reader is told of deletions."""
    assert not journals(folder / "m")
    tables = [pq.ParquetFile(file.path).read() for file in rotated(folder / "m", kind)]
    return sorted(int(each[-16:], 16) for table in tables for each in table["request_id"].to_pylist())


def cut(file):
    """Half of a file, as a disk that lost the rest has it."""
    file.path.write_bytes(file.path.read_bytes()[: file.path.stat().st_size // 2])
    return file.path


@settings(max_examples=25, deadline=None)
@given(
    files=st.lists(st.tuples(st.booleans(), st.lists(st.sampled_from([*NAMES]), min_size=1, max_size=4)), max_size=4),
    stopped=st.lists(st.tuples(st.sampled_from([*NAMES]), st.integers(0, 16)), max_size=3),
)
def test_a_deletion_that_nobody_finished_is_finished_before_it_is_forgotten(files, stopped, tmp_path_factory):
    folder = tmp_path_factory.mktemp("log")
    (folder / "m").mkdir()
    clients = [client for _, of_file in files for client in of_file]
    first = 0
    for place, (journal, of_file) in enumerate(files):
        lie(folder, place, range(first, first + len(of_file)), whose=clients.__getitem__, journal=journal)
        first += len(of_file)
    for client, until in stopped:
        delete_until(folder, NAMES[client], moment_us(until))
    expected = [
        number
        for number, client in enumerate(clients)
        if not any(client == whose and number <= until for whose, until in stopped)
    ]
    prune(folder, None, None, LATER_US)
    assert not deletions(folder)
    assert on_disk(folder) == expected
    if stopped:
        assert on_disk(folder, FEEDBACK) == expected
    assert len(read_records(folder, "m")) == len(expected)


def test_a_deletion_is_not_forgotten_while_a_server_holds_rows_of_the_client(tmp_path):
    (tmp_path / "m").mkdir()
    held = Journal(journal_path(tmp_path / "m", stem(1), RECORDS), schema(RECORDS))
    held.append(records_batch([answer(0, client="ada")], NAMES.get))
    delete_until(tmp_path, NAMES["ada"], moment_us(5))
    prune(tmp_path, None, None, LATER_US)
    assert deletions(tmp_path)
    held.close()
    prune(tmp_path, None, None, LATER_US)
    assert (on_disk(tmp_path), deletions(tmp_path)) == ([], {})


def test_a_deletion_is_not_forgotten_while_the_disk_refuses_or_a_file_is_damaged(tmp_path, monkeypatch):
    lie(tmp_path, 1, range(4), whose=lambda number: "ada" if number % 2 else "bob")
    lie(tmp_path, 2, range(4, 8), whose=lambda number: "ada" if number % 2 else "bob")
    delete_until(tmp_path, NAMES["ada"], moment_us(9))

    def full(*_arguments):
        raise OSError(28, "No space left on device")

    first, second = rotated(tmp_path / "m", RECORDS)
    with monkeypatch.context() as patch:
        patch.setattr(rewriting, "replace_parquet", full)
        with pytest.raises(UnavailableError, match=rf"{first.path}: No space left.*{second.path}"):
            prune(tmp_path, None, None, LATER_US)
    assert deletions(tmp_path)
    bad = cut(first)
    with pytest.raises(IntegrityError, match=f"{bad}: damaged"):
        prune(tmp_path, None, None, LATER_US)
    assert deletions(tmp_path)
    bad.unlink()
    prune(tmp_path, None, None, LATER_US)
    assert (on_disk(tmp_path), deletions(tmp_path)) == ([4, 6], {})


def test_two_deletions_at_once_both_hold(tmp_path, monkeypatch):
    lie(tmp_path, 1, range(6), whose=lambda number: [*NAMES][number % 3])
    real, bobs = rewriting.replace_parquet, []

    def in_between(path, table):
        if not bobs:
            bobs.append(threading.Thread(target=delete_client, args=(tmp_path, NAMES["bob"], moment_us(9), 0)))
            bobs[0].start()
            bobs[0].join(1)
        real(path, table)

    monkeypatch.setattr(rewriting, "replace_parquet", in_between)
    delete_client(tmp_path, NAMES["ada"], moment_us(9), 0)
    bobs[0].join()
    assert on_disk(tmp_path) == [2, 5]


def test_a_server_that_tidies_waits_for_no_deletion(tmp_path):
    lie(tmp_path, 1, range(2), whose=lambda _number: "ada")
    delete_until(tmp_path, NAMES["ada"], moment_us(9))
    with rewriting.exclusively(tmp_path, wait=True):
        prune(tmp_path, None, None, LATER_US)
    assert deletions(tmp_path)
    assert len(list((tmp_path / FOLDER).iterdir())) == 1


def test_a_damaged_file_is_named_and_every_other_is_rid_of_the_client(tmp_path):
    for place in range(3):
        lie(tmp_path, place, range(4 * place, 4 * place + 4), whose=lambda number: "ada" if number % 2 else "bob")
    lie(tmp_path, 3, range(12, 14), whose=lambda number: "ada" if number % 2 else "bob", journal=True)
    bad = cut(rotated(tmp_path / "m", RECORDS)[0])
    with pytest.raises(IntegrityError, match=rf"{bad}: damaged \(.+\); expected .+ move it out of the log"):
        read_records(tmp_path, "m")
    with pytest.raises(IntegrityError, match=f"{bad}: damaged"):
        delete_client(tmp_path, NAMES["ada"], moment_us(99), 0)
    bad.unlink()
    assert on_disk(tmp_path) == on_disk(tmp_path, FEEDBACK) == [4, 6, 8, 10, 12]
    assert delete_client(tmp_path, NAMES["ada"], moment_us(99), 0).files == 0


def test_a_damaged_file_keeps_no_journal_with_feedback_from_being_rotated(tmp_path):
    lie(tmp_path, 1, range(2), whose=lambda _number: "bob")
    cut(rotated(tmp_path / "m", RECORDS)[0])
    delete_until(tmp_path, NAMES["ada"], moment_us(9))
    lie(tmp_path, 2, range(2, 4), whose=lambda _number: "bob", journal=True)
    assert rotate_abandoned(tmp_path) == (frozenset(), ())
    assert not journals(tmp_path / "m")


def test_a_journal_that_cannot_be_rotated_keeps_no_other_and_is_named(tmp_path, monkeypatch):
    for place in range(3):
        lie(tmp_path, place, [place], whose=lambda _number: "bob", journal=True)
    real = rotation.write_rotated

    def one_fails(folder, kind, which, table):
        if which == stem(1):
            raise OSError(28, "No space left on device")
        real(folder, kind, which, table)

    monkeypatch.setattr(rotation, "write_rotated", one_fails)
    with pytest.raises(UnavailableError, match=f"{stem(1)}: No space left"):
        prune(tmp_path, 0, None, LATER_US)
    assert [*journals(tmp_path / "m")] == [stem(1)]
    assert not rotated(tmp_path / "m", RECORDS)  # it went on to shorten the log


def test_memory_that_is_short_is_no_damage(tmp_path, monkeypatch):
    lie(tmp_path, 1, range(2), whose=lambda _number: "bob")

    def short(_path):
        raise pa.ArrowMemoryError("malloc of size 1 failed")

    monkeypatch.setattr(pq, "ParquetFile", short)
    labels = pa.Table.from_batches([feedback_batch([Labels(0, "m", answer(0).request_id, (0,))])])
    with pytest.raises(MemoryError):
        with_records(labels, tmp_path / "m", {NAMES["ada"]: 1})


def test_what_the_disk_refuses_is_no_damage(tmp_path, monkeypatch):
    def refused(_path):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(pq, "ParquetFile", refused)
    with pytest.raises(UnavailableError, match=f"{tmp_path / 'x'}: Permission denied; expected a file that can be"):
        read_parquet(tmp_path / "x")


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    folder = tmp_path_factory.mktemp("log")
    lie(folder, 1, range(20), whose=lambda _number: "bob")
    return rotated(folder / "m", RECORDS)[0].path.read_bytes()


@settings(max_examples=200, deadline=None)
@given(data=st.data())
def test_a_file_that_was_cut_anywhere_is_named(whole, data, tmp_path_factory):
    length = data.draw(st.integers(0, len(whole) - 1))
    path = Path(tmp_path_factory.getbasetemp()) / f"cut-{os.getpid()}"
    path.write_bytes(whole[:length])
    with pytest.raises(IntegrityError, match=f"{path}: damaged"):
        read_parquet(path)
