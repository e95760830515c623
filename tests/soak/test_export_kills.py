"""SIGKILL of `export` of the full network, 505 MB: at twenty random moments, and before each call on the base path.

SLIPWAY_SOAK_FOLDER names a folder that keeps the network and the kills that are done: a soak that was stopped goes on
there. Without it everything is made anew. Run with `-s` to see the table grow.
"""

import os
import random
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.pipeline.conftest import ended_well
from tests.pipeline.lifecycle_kills import check_nothing_partial
from tests.pipeline.lifecycle_world import NAME, World
from tests.serving.stores.kill_points import run_until_call, run_until_moment
from tests.soak.kept import Kills

pytestmark = pytest.mark.soak

SEED = 505
MOMENTS = 20
LONGEST_S = 3.0  # from the first staged byte; shortened when a kill comes too late
TIMEOUT_S = 600
DONE = "whole, 0 leftovers"


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    """A registry whose version 1 is ResNet50, Flatten, Dense(1024), at 224 x 224: one epoch on a dozen pictures."""
    kept = os.environ.get("SLIPWAY_SOAK_FOLDER")
    folder = Path(kept).absolute() if kept else tmp_path_factory.mktemp("soak")
    world = World(folder)
    if (folder / "registered").exists():
        return world
    pixels = np.random.default_rng(SEED)
    for number in range(12):
        label = folder / "pets" / ("cat", "dog")[number % 2]
        label.mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels.integers(0, 256, (64, 64, 3), np.uint8)).save(label / f"{number}.png")
    train = ended_well(world.run("train", "--data", "pets", "--epochs", "1", "--batch-size", "4", timeout_s=1800))
    evaluate = ended_well(world.run(*train.next_words, timeout_s=1800))
    ended_well(world.run(*evaluate.next_words, timeout_s=1800))
    (folder / "registered").touch()
    return world


@pytest.fixture
def kills(world):
    return Kills(world.folder / "kills.json")


@pytest.fixture
def base(world):
    """An empty base path: also what a soak that was stopped left in it goes."""
    base = world.folder / "killed_base"
    shutil.rmtree(base, ignore_errors=True)
    return base


@pytest.fixture
def export(world, base, monkeypatch):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", world.uri)
    monkeypatch.setenv("SLIPWAY_DATABASE_URL", f"sqlite:///{world.folder}/slipway.db")
    return ["pipeline", "export", "--name", NAME, "--version", "1", "--base", str(base)]


def test_this_is_the_full_network(world):
    """More than 500 MB, so that a kill finds it in the middle of its work."""
    assert int(world.registry.version(NAME, 1).tags["slipway.size_bytes"]) > 500_000_000


def test_killed_before_each_call_that_changes_the_base_path(world, base, export, kills):
    """Never a partial version; the next run finishes and removes the leftovers."""
    point = sum(kill.startswith("before call") for kill in kills.done) + 1
    while not kills.finished:
        kills.finished = not run_until_call(export, base, point, TIMEOUT_S)
        if not kills.finished:
            left = check_nothing_partial(base, NAME)
            assert_the_next_run_finishes(base, export)
            kills.record(f"before call {point:3}", left)
            point += 1
        shutil.rmtree(base, ignore_errors=True)
    kills.save()
    assert point > 30


def test_killed_at_random_moments_after_the_first_staged_byte(world, base, export, kills):
    """Never a partial version; the next run finishes and removes the leftovers."""
    moment = sum(kill.startswith("moment") for kill in kills.done) + 1
    longest_s = LONGEST_S
    while moment <= MOMENTS:
        rng = random.Random(f"{SEED} {moment} {longest_s}")
        killed = run_until_moment(export, lambda: staged(base), longest_s, rng, TIMEOUT_S)
        left = check_nothing_partial(base, NAME)
        if killed and left != DONE:
            bytes_there = sum(path.stat().st_size for path in base.rglob("*") if path.is_file())
            assert_the_next_run_finishes(base, export)
            kills.record(f"moment {moment:2}", f"{left}, {bytes_there / 1e6:.0f} MB on disk")
            moment += 1
        else:
            longest_s *= 0.9  # too late: this machine is quicker than was thought
        shutil.rmtree(base, ignore_errors=True)


def staged(base):
    """Whether a byte of the servable has been written."""
    try:
        return any(path.stat().st_size for path in base.glob(f"{NAME}/.staging-*/fetched/servable/*/*"))
    except OSError:  # it was just moved
        return True


def assert_the_next_run_finishes(base, export):
    assert not run_until_call(export, base, 0, TIMEOUT_S)
    assert check_nothing_partial(base, NAME) == DONE
    assert [path.name for path in base.rglob("*") if path.name.startswith(".staging")] == []
