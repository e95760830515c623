"""Who removes the log under a running server loses what it held, counted and said, and nothing that comes after."""

import logging
import shutil

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from serving.prediction_log.clients import KEY_FILE, Clients, check_key, client_digest, client_key
from serving.prediction_log.columns import Labels, feedback_batch, records_batch, rows_batch
from serving.prediction_log.places import journal_path, model_folder
from serving.prediction_log.reading import read_feedback, read_records
from serving.prediction_log.rules import LogRules
from serving.prediction_log.schema import EXTRAS, FEEDBACK, RECORDS
from serving.prediction_log.segment import Segment
from tests.serving.model_server.fakes import eventually
from tests.serving.prediction_log.answers import answer, written

STEM = "0123456789abcdef-000001"


def numbers(folder):
    return sorted(int(each[-16:], 16) for each in read_records(folder, "m")["request_id"].to_pylist())


def remove_visible(folder):
    """As `rm -rf folder/*` does, which leaves the key."""
    for path in folder.iterdir():
        if not path.name.startswith("."):
            shutil.rmtree(path)


@pytest.mark.parametrize("remove", [shutil.rmtree, remove_visible])
def test_what_was_removed_under_a_server_is_counted_and_what_comes_after_is_there(tmp_path, remove, caplog):
    folder = tmp_path / "log"
    with written(folder) as log, caplog.at_level(logging.ERROR):
        log.wait_ready()  # on a busy machine it takes a while
        key = client_key(folder)
        for number in range(5):
            log.offer(answer(number, images=2, client="ada"))
        log.labelled("m", answer(0).request_id, (1, 1))
        eventually(lambda: len(numbers(folder)) == 10 and len(read_feedback(folder, "m")) == 2)
        remove(folder)
        eventually(lambda: log.counts().dropped == 6)
        assert "somebody removed journals that were written to, and 6 records or labels with them" in caplog.text
        log.offer(answer(9, client="ada"))
        eventually(lambda: numbers(folder) == [9])
        log.labelled("m", answer(9).request_id, (3,))
    assert numbers(folder) == [9]
    assert log.counts().dropped == 6
    assert client_key(folder) == key
    check_key(folder, key)
    (row,) = read_records(folder, "m").to_pylist()
    assert (row["client"], row["true_class"]) == (client_digest(key, "ada"), 3)


def test_a_folder_that_is_removed_before_the_first_record_has_the_key_with_it(tmp_path):
    folder = tmp_path / "log"
    with written(folder) as log:
        key = client_key(folder)
        shutil.rmtree(folder)
        log.offer(answer(0, client="ada"))
    assert client_key(folder) == key
    assert numbers(folder) == [0]
    assert log.counts().dropped == 0


def test_what_is_removed_just_before_the_server_ends_is_counted(tmp_path):
    with written(tmp_path) as log:
        log.wait_ready()
        log.offer(answer(0))
        eventually(lambda: numbers(tmp_path) == [0])
        shutil.rmtree(tmp_path / "m")
    assert log.counts().dropped == 1


def test_a_key_that_another_server_made_meanwhile_is_taken(tmp_path):
    clients = Clients(tmp_path)
    (tmp_path / KEY_FILE).unlink()
    shutil.rmtree(tmp_path / ".client.keys")
    other = Clients(tmp_path)
    assert clients.digest("ada") != other.digest("ada")
    assert clients.restore()
    assert clients.digest("ada") == other.digest("ada")
    assert not clients.restore()


def test_a_key_of_a_file_of_its_own_is_never_written_to_the_log(tmp_path):
    (tmp_path / "own").write_text("0123456789abcdef" * 2)
    with written(tmp_path / "log", LogRules(key_file=tmp_path / "own")) as log:
        shutil.rmtree(tmp_path / "log")
        log.offer(answer(0, client="ada"))
    assert not (tmp_path / "log" / KEY_FILE).exists()
    check_key(tmp_path / "log", client_key(tmp_path, tmp_path / "own"))


@settings(max_examples=40, deadline=None)
@given(
    steps=st.lists(st.sampled_from([RECORDS, FEEDBACK, EXTRAS]), max_size=8),
    removed=st.sets(st.sampled_from([RECORDS, FEEDBACK, EXTRAS])),
)
def test_lost_are_the_requests_and_labels_of_removed_journals_and_the_rest_is_rotated(steps, removed, tmp_path_factory):
    folder = model_folder(tmp_path_factory.mktemp("log"), "m")
    segment = Segment(folder, STEM)
    for number, kind in enumerate(steps):
        each = answer(number, images=3)
        batch = {
            RECORDS: lambda each=each: records_batch([each], str.upper),
            FEEDBACK: lambda each=each: feedback_batch([Labels(each.time_us, "m", each.request_id, each.classes)]),
            EXTRAS: lambda each=each: rows_batch(EXTRAS, [{"request_id": each.request_id, "row": 0}]),
        }[kind]()
        segment.append(kind, batch, 1)
    for kind in removed:
        journal_path(folder, STEM, kind).unlink(missing_ok=True)
    assert segment.is_removed == bool(removed & {*steps})
    assert segment.lost == sum(kind in removed and kind != EXTRAS for kind in steps)
    segment.rotate()
    left = [number for number, kind in enumerate(steps) if kind == RECORDS and RECORDS not in removed]
    assert sorted({int(each[-16:], 16) for each in read_records(folder.parent, "m")["request_id"].to_pylist()}) == left
