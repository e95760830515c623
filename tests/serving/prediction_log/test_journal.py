"""A journal is read up to its last whole batch, wherever its writer was killed."""

import errno
import fcntl
import os

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from serving.prediction_log.columns import records_batch
from serving.prediction_log.journal import Journal, abandoned, read_journal
from serving.prediction_log.rotation import rotate_abandoned
from serving.prediction_log.schema import RECORDS, schema
from serving.prediction_log.unfinished import remove_unfinished
from tests.serving.prediction_log.answers import answer


def batch(*numbers):
    return records_batch([answer(number, images=1 + number % 3) for number in numbers], str.upper)


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """A journal's bytes, where each of its batches ends, and the batches."""
    path = tmp_path_factory.mktemp("journal") / "a"
    journal = Journal(path, schema(RECORDS))
    batches, ends = [batch(0), batch(1, 2), batch(*range(3, 40)), batch(40)], [journal.size_bytes]
    for each in batches:
        journal.append(each)
        ends.append(journal.size_bytes)
    journal.close()
    return path.read_bytes(), ends, batches


@settings(max_examples=400, deadline=None)
@given(data=st.data())
def test_cut_at_any_byte_it_has_every_batch_that_ends_before(whole, data, tmp_path_factory):
    content, ends, batches = whole
    cut = data.draw(st.one_of(st.integers(0, len(content)), st.sampled_from(ends).map(lambda end: end - 1)))
    path = tmp_path_factory.mktemp("cut") / "a"
    path.write_bytes(content[:cut])
    complete = [each for each, end in zip(batches, ends[1:], strict=True) if end <= cut]
    assert read_journal(path, schema(RECORDS)).equals(pa.Table.from_batches(complete, schema(RECORDS)))


@settings(max_examples=200, deadline=None)
@given(rest=st.binary(max_size=200))
def test_half_a_batch_and_then_nonsense_takes_nothing_from_what_is_before(whole, rest, tmp_path_factory):
    content, ends, batches = whole
    path = tmp_path_factory.mktemp("cut") / "a"
    path.write_bytes(content[: ends[2]] + b"\xff\xff\xff\xff\x10" + rest)
    found = read_journal(path, schema(RECORDS))
    assert found.equals(pa.Table.from_batches(batches[:2], schema(RECORDS)))


def test_a_disk_that_refuses_half_of_a_batch_leaves_the_journal_as_it_was(tmp_path, monkeypatch):
    journal = Journal(tmp_path / "a", schema(RECORDS))
    journal.append(batch(0))
    real, calls = os.write, []

    def full(descriptor, data):
        calls.append(len(data))
        if len(calls) == 1:
            return real(descriptor, data[: len(data) // 2])
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(os, "write", full)
        with pytest.raises(OSError, match="No space"):
            journal.append(batch(1))
    journal.append(batch(2))
    expected = pa.Table.from_batches([batch(0), batch(2)], schema(RECORDS))
    assert read_journal(tmp_path / "a", schema(RECORDS)).equals(expected)


def test_a_journal_of_a_version_that_knew_other_columns_is_read_by_its_names(tmp_path):
    older = pa.schema([schema(RECORDS).field("request_id"), pa.field("row", pa.int64()), pa.field("gone", pa.string())])
    journal = Journal(tmp_path / "a", older)
    journal.append(pa.RecordBatch.from_pylist([{"request_id": "1", "row": 2, "gone": "x"}], older))
    found = read_journal(tmp_path / "a", schema(RECORDS))
    assert found.schema.equals(schema(RECORDS))
    assert [found[name][0].as_py() for name in ("request_id", "row", "model")] == ["1", 2, None]


def test_a_journal_is_abandoned_only_when_its_writer_is_gone(tmp_path):
    journal = Journal(tmp_path / "a", schema(RECORDS))
    with abandoned([tmp_path / "a"]) as is_free:
        assert not is_free
    journal.close()
    with abandoned([tmp_path / "a"]) as is_free:
        assert is_free
        with abandoned([tmp_path / "a"]) as is_free_again:
            assert not is_free_again
    (tmp_path / "a").unlink()
    with abandoned([tmp_path / "a"]) as is_free:
        assert not is_free


def test_no_lock_is_taken_by_a_file_that_is_open_for_reading_alone_which_nfs_refuses(tmp_path, monkeypatch):
    real = fcntl.flock

    def as_over_nfs(descriptor, how):
        if fcntl.fcntl(descriptor, fcntl.F_GETFL) & os.O_ACCMODE == os.O_RDONLY:
            raise OSError(errno.EBADF, "Bad file descriptor")
        real(descriptor, how)

    monkeypatch.setattr(fcntl, "flock", as_over_nfs)
    (tmp_path / "m").mkdir()
    Journal(tmp_path / "m" / "0123456789abcdef-000001.records.arrows", schema(RECORDS)).close()
    (tmp_path / "m" / ".begun").touch()
    rotate_abandoned(tmp_path)
    remove_unfinished(tmp_path)
    assert list((tmp_path / "m").iterdir()) == []
