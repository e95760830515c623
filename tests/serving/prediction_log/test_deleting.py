"""Whatever was stopped, and wherever: a deleted client's records and labels leave the disk, and nobody else's do."""

import fcntl
import os
from functools import partial

import pyarrow as pa
import pytest

from serving.prediction_log import rewriting
from serving.prediction_log.clients import client_digest, client_key
from serving.prediction_log.columns import records_batch
from serving.prediction_log.deleting import delete_client
from serving.prediction_log.journal import Journal
from serving.prediction_log.places import size_bytes
from serving.prediction_log.reading import read_feedback
from serving.prediction_log.retention import now_us, prune
from serving.prediction_log.rotation import rotate_abandoned, write_rotated
from serving.prediction_log.rules import LogRules
from serving.prediction_log.schema import RECORDS, schema
from tests.serving.model_server.fakes import eventually
from tests.serving.prediction_log.answers import answer, written


def labelled(folder):
    return [int(row["request_id"][-16:], 16) for row in read_feedback(folder, "m").to_pylist()]


def delete_ada(folder, wait_s=0.0):
    return delete_client(folder, client_digest(client_key(folder), "ada"), now_us(), wait_s)


def log_both(log, first=0):
    """Answers 0 and 1, or so, with labels; the first is ada's."""
    for number, client in ((first, "ada"), (first + 1, "bob")):
        log.offer(answer(number, client=client))
        log.labelled("m", answer(number).request_id, (0,))


def test_labels_that_lay_in_a_journal_go_with_their_records(tmp_path):
    with written(tmp_path) as log:
        log_both(log)
        eventually(lambda: len(labelled(tmp_path)) == 2)
        assert delete_ada(tmp_path, wait_s=10).held == 0
        assert labelled(tmp_path) == [1]
    assert labelled(tmp_path) == [1]


def test_labels_of_a_deleted_clients_rotated_records_go_when_the_server_rotates_them_later(tmp_path):
    with written(tmp_path) as log:
        log_both(log)
    with written(tmp_path) as log:
        for number in (0, 1):
            log.labelled("m", answer(number).request_id, (3,))
        eventually(lambda: len(labelled(tmp_path)) == 4)
        log._deletions = -1  # it will rotate, but not yet
        assert delete_ada(tmp_path).held == 1
    assert labelled(tmp_path) == [1, 1]


def test_a_deletion_that_was_killed_between_records_and_labels_is_finished_by_the_next(tmp_path, monkeypatch):
    with written(tmp_path) as log:
        log_both(log)

    def killed(*_arguments, **_named):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(rewriting, "with_records", killed)
        with pytest.raises(KeyboardInterrupt):
            delete_ada(tmp_path)
    assert len(labelled(tmp_path)) == 2
    assert delete_ada(tmp_path).feedback == 1
    assert labelled(tmp_path) == [1]


@pytest.mark.parametrize(
    "tidy",
    [rotate_abandoned, delete_ada, partial(prune, most_bytes=None, keep_s=None, now_us=0)],
    ids=["start", "delete-client", "prune"],
)
def test_what_a_killed_process_had_begun_to_write_is_removed(tmp_path, tidy):
    with written(tmp_path) as log:
        log_both(log)
    whole = size_bytes(tmp_path)
    for name in (".records-1-2-a.parquet.3f2a", ".0123456789abcdef-000001.records.arrows.00ff"):
        (tmp_path / "m" / name).write_bytes(b"ada" * 1000)
    tidy(tmp_path)
    assert not [path for path in (tmp_path / "m").iterdir() if path.name.startswith(".")]
    assert size_bytes(tmp_path) <= whole


def test_what_is_being_written_is_left_alone(tmp_path, monkeypatch):
    real = os.fsync
    (tmp_path / "m").mkdir()

    def while_it_writes(descriptor):
        rotate_abandoned(tmp_path)
        real(descriptor)

    monkeypatch.setattr(os, "fsync", while_it_writes)
    rows = pa.Table.from_batches([records_batch([answer(0)], str.upper)])
    write_rotated(tmp_path / "m", RECORDS, "0123456789abcdef-000001", rows)
    assert [path.name.startswith("records-") for path in (tmp_path / "m").iterdir()] == [True]


def test_a_new_journal_that_was_taken_for_a_dead_processs_is_begun_again(tmp_path, monkeypatch):
    real, calls = fcntl.flock, []

    def taken_first(descriptor, how):
        if not calls:
            calls.append(1)
            for path in tmp_path.iterdir():
                path.unlink()
        real(descriptor, how)

    monkeypatch.setattr(fcntl, "flock", taken_first)
    Journal(tmp_path / "a", schema(RECORDS)).close()
    assert [path.name for path in tmp_path.iterdir()] == ["a"]


def test_labels_of_nobody_deleted_stay_while_their_records_are_rotated_beside(tmp_path):
    with written(tmp_path, LogRules(rotate_bytes=1)) as log:
        for number in range(0, 20, 2):
            log_both(log, number)
            delete_ada(tmp_path)
    delete_ada(tmp_path)
    assert labelled(tmp_path) == list(range(1, 20, 2))
