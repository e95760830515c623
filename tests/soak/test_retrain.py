"""SIGKILL of `retrain` in each phase, by name, at two moments of it: the next one goes on with it or begins anew."""

import os
import signal
import sqlite3
import time

import pytest

from pipeline.retrain.unfinished import PHASES
from tests.pipeline.conftest import GOOD, ended_well
from tests.pipeline.lifecycle_world import NAME, NETWORK, World, json_of, wait_until

pytestmark = [pytest.mark.soak, pytest.mark.timeout(7200)]

DELAYS_S = (0.0, 0.7)  # after the phase has begun
# Every candidate passes: what ends in a refusal never comes to be promoted.
LENIENT = ("--champion-margin", "1", "--recall-drop", "1", "--significance", "1e-12")
NEXT = ("retrain", "--force", "--epochs", "2", "--learning-rate", "0.0005", *LENIENT, "--json")
OPEN = """SELECT phase.value FROM tags phase JOIN tags opened ON phase.run_uuid = opened.run_uuid
          WHERE phase.key = 'slipway.retrain_phase' AND opened.key = 'slipway.retrain_open' AND opened.value = ?"""


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    """Version 1 is live."""
    made = World(tmp_path_factory.mktemp("retrain"))
    ended_well(made.run("main", *NETWORK, *GOOD))
    return made


def asked(world, query, *values):
    database = sqlite3.connect(f"file:{world.folder}/mlflow.db?mode=ro", uri=True, timeout=30)
    try:
        return [row[0] for row in database.execute(query, values)]
    finally:
        database.close()


def kill_in(world, phase, delay_s):
    """Start one, and kill it so long after it has come to the phase."""
    process = world.start(*NEXT)
    wait_until(lambda: asked(world, OPEN, NAME) == [phase], f"it never came to {phase}", every_s=0.01)
    time.sleep(delay_s)
    os.killpg(process.pid, signal.SIGKILL)
    process.communicate()


@pytest.mark.parametrize("delay_s", DELAYS_S)
@pytest.mark.parametrize("phase", PHASES)
def test_after_a_kill_in_a_phase_the_next_one_ends_and_nothing_is_left(world, phase, delay_s):
    """One version more, live everywhere, no run that runs, and every record of one mind."""
    before = len(world.registry.versions(NAME))
    kill_in(world, phase, delay_s)
    done = world.run(*NEXT)
    assert done.code == 0, done.err
    outcome = json_of(done)
    assert outcome["ending"] == "promoted"
    assert outcome["resumed"] is not ("is closed: it was killed before" in done.err)
    assert len(world.registry.versions(NAME)) == before + 1
    assert asked(world, OPEN, NAME) == []
    assert asked(world, "SELECT name FROM runs WHERE status = 'RUNNING'") == []
    live = {str(value).strip("[]") for value in world.live().values()}
    assert live == {str(outcome["version"])}
    world.ledger.verify_chain()


def test_a_schedule_that_is_ended_stops_the_one_that_runs_and_the_next_goes_on_with_it(world):
    process = world.start(*NEXT, "--schedule", "* * * * *")
    wait_until(lambda: asked(world, OPEN, NAME) == ["train"], "it never began to train", every_s=0.1)
    os.kill(process.pid, signal.SIGTERM)
    ended = world.finish(process)
    assert ended.code == 0, ended.err
    assert "retrain ended with exit code 130" in ended.err
    assert asked(world, OPEN, NAME) == ["train"]
    assert asked(world, "SELECT name FROM runs WHERE status = 'RUNNING'") == []
    assert json_of(world.run(*NEXT))["resumed"]
