"""Ctrl-C in a training, and the way on."""

import os
import re
import signal
from pathlib import Path

import numpy as np
import pytest

from tests.pipeline.conftest import GOOD, ended_well
from tests.pipeline.lifecycle_world import NAME, NETWORK, wait_until

pytestmark = pytest.mark.integration


@pytest.fixture(scope="module")
def world(original, third, tmp_path_factory):
    return original.copy(tmp_path_factory.mktemp("stop") / "world")


@pytest.fixture(scope="module")
def stopped(world):
    """`main` with the first version's configuration, given Ctrl-C in its second epoch."""
    before = world.state()
    present = set(checkpoints(world))
    process = world.start("main", *NETWORK, *GOOD)
    wait_until(lambda: set(checkpoints(world)) - present or process.poll() is not None, "no epoch was finished")
    os.kill(process.pid, signal.SIGINT)
    done = world.finish(process)
    assert world.state() == before
    return done


@pytest.fixture(scope="module")
def run_id(stopped):
    return re.search(r"run ([0-9a-f]{32}) is KILLED", stopped.err)[1]


@pytest.fixture(scope="module")
def resumed(world, stopped, run_id):
    """The training, resumed by the command that the stopped one named."""
    words = re.search(r"Go on with: slipway (.*)$", stopped.error)[1].split()
    assert words == ["train", "--resume", run_id]
    return ended_well(world.run(*words))


def checkpoints(world):
    """The first epoch's checkpoints of all trainings; MLflow copies a file in place, so it is one when it has grown."""
    location = client(world).get_experiment_by_name("slipway").artifact_location
    return [file for file in Path(location).glob("*/artifacts/checkpoint/epoch-0001.keras") if file.stat().st_size]


def client(world):
    from mlflow import MlflowClient

    return MlflowClient(world.uri)


def weights(world, run_id):
    import keras

    file = client(world).download_artifacts(run_id, "network/model.keras", str(world.folder))
    return keras.models.load_model(file, compile=False).get_weights()


def test_ctrl_c_ends_with_one_line_and_exit_code_130(stopped, run_id):
    assert stopped.code == 130
    way_on = f"Go on with: slipway train --resume {run_id}"
    assert stopped.error == f"stopped; run {run_id} is KILLED and keeps its last finished epoch. {way_on}"


def test_ctrl_c_leaves_runs_that_are_killed_and_no_version(world, run_id, stopped):
    """The training and the `main` above it are KILLED; nothing was registered, published or moved."""
    child = client(world).get_run(run_id)
    parent = client(world).get_run(child.data.tags["mlflow.parentRunId"])
    assert parent.info.status == "KILLED"
    assert len(world.registry.versions(NAME)) == 3


def test_a_resumed_run_is_finished_and_has_each_epoch_once(world, resumed, run_id):
    """It goes on from the second epoch; curves have a point an epoch; no checkpoint is left."""
    assert "epoch 1/3" not in resumed.err
    assert "epoch 2/3" in resumed.err
    run = client(world).get_run(run_id)
    assert run.info.status == "FINISHED"
    for metric in ("loss", "accuracy", "val_loss", "val_accuracy"):
        assert [point.step for point in client(world).get_metric_history(run_id, metric)] == [1, 2, 3]
    assert "checkpoint" not in {entry.path for entry in client(world).list_artifacts(run_id)}


def test_a_resumed_run_has_the_weights_of_an_uninterrupted_one(world, first, resumed, run_id):
    """Version 1 was trained with the same configuration, in one go: equal up to floating-point noise."""
    uninterrupted = world.registry.version(NAME, 1).run_id
    for resumed_weight, weight in zip(weights(world, run_id), weights(world, uninterrupted), strict=True):
        np.testing.assert_allclose(resumed_weight, weight, rtol=1e-4, atol=1e-5)


def test_an_epoch_that_was_measured_but_not_kept_is_trained_again_and_stands_once(world, monkeypatch):
    """Ctrl-C between an epoch's metrics and its checkpoint: the resumed run has one point for it all the same."""

    def interrupt(*_):
        raise KeyboardInterrupt

    with monkeypatch.context() as here:
        here.setattr("pipeline.train._checkpoint", interrupt)
        done = world.call(here, "train", "--network", "tiny", "--image-size", "32", "--epochs", "2")
    assert done.code == 130
    run_id = re.search(r"run ([0-9a-f]{32}) is KILLED", done.err)[1]
    ended_well(world.call(monkeypatch, "train", "--resume", run_id))
    assert [point.step for point in client(world).get_metric_history(run_id, "val_accuracy")] == [1, 2]


def test_a_finished_run_is_not_resumed(world, monkeypatch, resumed, run_id):
    """Exit code 2 and one line."""
    done = world.call(monkeypatch, "train", "--resume", run_id)
    assert done.code == 2
    assert run_id in done.error
