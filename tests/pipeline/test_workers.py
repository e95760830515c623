"""`train --distribute` with two processes on this machine: the curve of one worker, and what ends it in order."""

import signal
import socket
import time

import numpy as np
import pytest
from mlflow import MlflowClient

from tests.pipeline.conftest import ended_well
from tests.pipeline.worker_pair import PLAIN, Pair, kill, kill_process_of

# A batch of 47 leaves shares of 24 and 23, and a last batch of 29.
TWO_EPOCHS = (*PLAIN, "--epochs", "2", "--batch-size", "47")
SIX_EPOCHS = (*PLAIN, "--epochs", "6", "--batch-size", "47")


@pytest.fixture
def pair(empty_store, tmp_path):
    return Pair(tmp_path, empty_store)


@pytest.fixture(scope="module")
def two(empty_store, tmp_path_factory):
    """Two workers that have trained, with what they said."""
    folder = tmp_path_factory.mktemp("two")
    pair = Pair(folder, empty_store)
    pair.chief, pair.other = [ended_well(done) for done in pair.trained(*TWO_EPOCHS)]
    return pair


@pytest.mark.integration
def test_two_workers_have_the_loss_curve_of_one_with_the_same_global_batch(two, monkeypatch):
    """Relative 1e-3, on a network without batch normalisation; the one worker is Keras' own `fit`."""
    together = {metric: two.curve(metric) for metric in ("loss", "val_loss", "accuracy", "val_accuracy")}
    alone = ended_well(two.call(monkeypatch, "train", *TWO_EPOCHS)).next_words[-1]
    for metric, (steps, values) in together.items():
        of_one = two.curve(metric, alone)
        assert steps == of_one[0] == [1, 2]
        np.testing.assert_allclose(values, of_one[1], rtol=1e-3)


@pytest.mark.integration
def test_the_chief_alone_has_the_run_and_the_other_worker_ends_well(two):
    """The other worker has no tracking server at all; one run is there, finished, whole."""
    assert f"evaluate --run-id {two.chief.next_words[-1]}" in two.chief.out
    assert two.other.out == ""
    assert "worker 1 of 2: done" in two.other.err
    run = MlflowClient(two.uri).get_run(two.chief.next_words[-1])
    assert (run.info.status, run.data.tags["slipway.workers"]) == ("FINISHED", "2")
    artifacts = {entry.path for entry in MlflowClient(two.uri).list_artifacts(run.info.run_id)}
    assert "network" in artifacts
    assert "checkpoint" not in artifacts


@pytest.mark.integration
def test_workers_with_different_options_are_refused_and_each_names_the_difference(pair):
    started = [pair.worker(1, *TWO_EPOCHS, "--seed", "7"), pair.worker(0, *TWO_EPOCHS)]
    for process in started:
        done = pair.finish(process)
        assert done.code == 2, done.err
        assert "worker 1 has train.seed 7, worker 0 has 0" in done.error
    assert [run.info.status for run in pair.runs] == ["FAILED"]


@pytest.mark.integration
def test_a_port_that_is_taken_is_said_at_once(pair):
    with socket.create_server(("127.0.0.1", pair.ports[1])):
        done = pair.finish(pair.worker(1, *TWO_EPOCHS))
    assert done.code == 1
    assert f"port {pair.ports[1]} of worker 1 of 2 cannot be taken" in done.error


@pytest.mark.integration
def test_a_worker_that_never_comes_is_waited_for_so_long_and_named(pair):
    done = pair.finish(pair.worker(1, *TWO_EPOCHS, "--peer-timeout-s", "3"))
    assert done.code == 1
    assert f"have not met within 3 s; worker 0 (127.0.0.1:{pair.ports[0]}) cannot be reached" in done.error


@pytest.mark.integration
def test_a_chief_that_is_stopped_while_it_waits_ends_within_seconds_and_its_run_is_killed(pair):
    chief = pair.worker(0, *TWO_EPOCHS)
    deadline = time.monotonic() + 120
    while not pair.runs and time.monotonic() < deadline:
        time.sleep(0.2)
    time.sleep(2)  # in the middle of starting
    chief.send_signal(signal.SIGTERM)
    done = pair.finish(chief, 30)
    assert done.code == 130
    assert f"slipway train --distribute --resume {pair.run_id}" in done.error
    assert [run.info.status for run in pair.runs] == ["KILLED"]


@pytest.fixture(scope="module")
def six_epochs(empty_store, tmp_path_factory):
    """The loss curve of two workers that nobody disturbed."""
    pair = Pair(tmp_path_factory.mktemp("undisturbed"), empty_store)
    for done in pair.trained(*SIX_EPOCHS, timeout_s=900):
        ended_well(done)
    return pair.curve()[1]


def ended_as_if_undisturbed(pair, undisturbed):
    steps, losses = pair.curve()
    assert steps == [1, 2, 3, 4, 5, 6]  # each epoch once
    np.testing.assert_allclose(losses, undisturbed, rtol=1e-3)
    assert [run.info.status for run in pair.runs] == ["FINISHED"]


@pytest.mark.soak
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("index", [0, 1])
def test_a_worker_whose_process_is_killed_goes_on_from_the_last_epoch_by_itself(pair, six_epochs, index):
    """SIGKILL of what the chief, or the other worker, computes in: both start again, nobody calls anything."""
    workers = [pair.worker(number, *SIX_EPOCHS) for number in (0, 1)]
    pair.wait_for_epoch(2, *workers)
    kill_process_of(workers[index])
    said = [ended_well(pair.finish(worker, 900)) for worker in workers]
    assert "starting again from the last epoch that was kept" in said[0].err
    assert "starting again from the last epoch that was kept" in said[1].err
    assert "epoch 1/6" not in said[0].err.partition("starting again")[2]
    ended_as_if_undisturbed(pair, six_epochs)


@pytest.mark.soak
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("index", [0, 1])
def test_a_worker_that_is_killed_whole_and_started_again_resumes_from_the_checkpoint(pair, six_epochs, index):
    """SIGKILL of the command: the other worker waits, the same command goes on, the chief's with --resume."""
    workers = [pair.worker(number, *SIX_EPOCHS) for number in (0, 1)]
    pair.wait_for_epoch(2, *workers)
    kill(workers[index])
    workers[index] = pair.worker(index, *(SIX_EPOCHS if index else ("--resume", pair.run_id)))
    said = [ended_well(pair.finish(worker, 900)) for worker in workers]
    assert "epoch 1/6" not in said[index].err
    ended_as_if_undisturbed(pair, six_epochs)
