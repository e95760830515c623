"""One lifecycle of three versions, walked once a session by real processes, for tests to look at and to copy."""

import shutil
from types import SimpleNamespace

import pytest

from registry.client import Registry
from tests.pipeline.lifecycle_world import NETWORK, ROOT, World

GOOD = ("--epochs", "3", "--batch-size", "32", "--learning-rate", "0.0005")
BETTER = ("--epochs", "8", "--batch-size", "32", "--learning-rate", "0.002", "--seed", "1")
HASTY = {"epochs": "1", "batch-size": "256", "network": "tiny", "image-size": "32"}


def ended_well(done):
    assert done.code == 0, done.out + done.err
    return done


@pytest.fixture(scope="session")
def original(tmp_path_factory):
    """The empty world that everything is made in. Tests do not touch it: they take `world`."""
    return World(tmp_path_factory.mktemp("lifecycle"))


@pytest.fixture(scope="session")
def first(original):
    """Version 1, by `main`: good, live. Returns what `main` printed."""
    return ended_well(original.run("main", *NETWORK, *GOOD))


@pytest.fixture(scope="session")
def second(original, first):
    """Version 2, step by step, each called as the one before it said: better than the first, not promoted yet."""
    train = ended_well(original.run("train", *NETWORK, *BETTER))
    evaluate = ended_well(original.run(*train.next_words))
    register = ended_well(original.run(*evaluate.next_words))
    gate = ended_well(original.run(*register.next_words))
    return SimpleNamespace(train=train, evaluate=evaluate, register=register, gate=gate)


@pytest.fixture(scope="session")
def hasty_run(original, second):
    """A training of one epoch, started by `mlflow run`; returns what it printed."""
    parameters = [word for key, value in HASTY.items() for word in ("-P", f"{key.replace('-', '_')}={value}")]
    command = ["mlflow", "run", str(ROOT), "-e", "train", "--env-manager", "local", *parameters]
    return ended_well(original.finish(original.popen([*command, "--experiment-name", "slipway"])))


@pytest.fixture(scope="session")
def third(original, hasty_run):
    """Version 3: the training of one epoch, evaluated and registered. Returns the steps' outputs."""
    evaluate = ended_well(original.run(*hasty_run.next_words))
    register = ended_well(original.run(*evaluate.next_words))
    return SimpleNamespace(evaluate=evaluate, register=register)


@pytest.fixture
def world(original, third, tmp_path):
    """A world of one's own: version 1 live, 2 good, 3 bad. The versions' artifacts are everybody's."""
    return original.copy(tmp_path / "world")


@pytest.fixture(scope="session")
def empty_store(tmp_path_factory):
    """MLflow's first start on a database runs its migrations: some seconds, spent once."""
    folder = tmp_path_factory.mktemp("mlflow-empty")
    Registry(f"sqlite:///{folder}/mlflow.db")
    return folder / "mlflow.db"


@pytest.fixture
def registered(empty_store, tmp_path):
    """An empty world for versions that are made without a training."""
    from tests.pipeline.registered_world import RegisteredWorld

    folder = tmp_path / "registered"
    folder.mkdir()
    shutil.copy(empty_store, folder / "mlflow.db")
    return RegisteredWorld(folder)


@pytest.fixture
def drifting(empty_store, tmp_path):
    """An empty world for champions with reference statistics, and the log of what they were asked."""
    from tests.pipeline.drift_world import DriftWorld

    folder = tmp_path / "drifting"
    folder.mkdir()
    shutil.copy(empty_store, folder / "mlflow.db")
    return DriftWorld(folder)
