"""A pass with nothing to do, over a registry of a thousand models of a hundred versions each, twenty of them served."""

import resource
import time

import pytest

from registry.client import Registry
from registry.intent import Seen, save_seen
from serving.model_config import Wanted
from tests.pipeline.lifecycle_world import World
from tests.pipeline.registered_world import RegisteredWorld
from tests.registry.large_registry import fill

pytestmark = pytest.mark.integration

MODELS, VERSIONS, SERVED = 1000, 100, 20


class LargeWorld(RegisteredWorld):
    def __init__(self, folder):
        World.__init__(self, folder)


def test_a_pass_with_nothing_to_do_takes_at_most_five_seconds(tmp_path):
    world = LargeWorld(tmp_path)
    Registry(world.uri).served_models()  # makes MLflow's tables
    live = VERSIONS - 1
    world.base.mkdir()
    for name in fill(tmp_path / "mlflow.db", MODELS, VERSIONS, SERVED):
        (world.base / name / str(live)).mkdir(parents=True)
        world.configured(name, Wanted(live))
        save_seen(world.ledger, name, Seen(live, None, live, None, None))
    wall_s, cpu_s = [], []
    for _ in range(3):
        began, before = time.monotonic(), _cpu_s()
        done = world.run("reconcile", "--once", "--base", world.base, "--servers", "none")
        wall_s.append(round(time.monotonic() - began, 2))
        cpu_s.append(round(_cpu_s() - before, 2))
        assert done.out.strip() == f"nothing to do: {SERVED} models are as the registry says", done.out + done.err
    # One process, and nothing that it waits for: on a machine that does much else, its own time is what counts.
    assert min(cpu_s) <= 5, f"processor time {cpu_s} s, of {wall_s} s"


def _cpu_s():
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime
