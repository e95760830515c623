"""A hundred promotions back and forth under a steady load; and a reconciler that is killed again and again.

SLIPWAY_SOAK_FOLDER names a folder that keeps the network, and what is done: a soak that was stopped goes on there. Run
with `-s` to see the tables grow.
"""

import json
import os
import random
import signal
import time

import pytest

from benchmarks.serving.network import NAME
from registry.ledger import Ledger
from slipway.files import write_atomically
from tests.pipeline.lifecycle_world import wait_until
from tests.soak.kept import soak_folder
from tests.soak.promotion_scene import Clients, Scene

pytestmark = pytest.mark.soak

SEED = 224
PROMOTIONS = int(os.environ.get("SLIPWAY_SOAK_PROMOTIONS", "100"))
NEW = PROMOTIONS // 5
REQUESTS = 200 * PROMOTIONS
KILLS = int(os.environ.get("SLIPWAY_SOAK_KILLS", "50"))
LONGEST_S = 6.0  # of a promotion of a version that is new, after its first sign


class Done:
    """What is done, in a file; each line is printed once."""

    def __init__(self, file):
        self._file = file
        self.lines = json.loads(file.read_text()) if file.exists() else []

    def add(self, **line):
        self.lines.append(line)
        print(len(self.lines), *(f"{key}={value}" for key, value in line.items()))  # noqa: T201 - a soak's table
        write_atomically(self._file, json.dumps(self.lines, indent=1).encode())


def test_a_hundred_promotions_fail_no_request(tmp_path_factory):
    """None failed, none answered by a version that was neither old nor new; the ledger has them all and verifies."""
    folder = soak_folder("promotions", tmp_path_factory)
    scene = Scene(folder, 21)
    done = Done(folder / "promotions.json")
    live = done.lines[-1]["to"] if done.lines else 1
    answered_before = sum(line["requests"] for line in done.lines)
    scene.promote(live)
    with scene.server(), scene.watcher(), Clients(scene.rest) as clients:
        clients.allowed = {live}
        scene.wait_live(live)
        entries = len(scene.world.ledger.entries(NAME)) - len(done.lines)
        while len(done.lines) < PROMOTIONS:
            rng = random.Random(f"{SEED} {len(done.lines)}")
            highest = max([1, *(line["to"] for line in done.lines)])
            new = len(done.lines) % (PROMOTIONS // NEW) == 0
            version = highest + 1 if new else live - 1 if live == highest else highest
            clients.allowed = {live, version}
            answered, began = clients.answered, time.monotonic()
            scene.promote(version)
            scene.wait_live(version)
            took_s = time.monotonic() - began
            live = version
            clients.allowed = {live}
            time.sleep(rng.uniform(0.5, 3))
            done.add(to=version, new=new, took_s=round(took_s, 2), requests=clients.answered - answered)
            assert not clients.wrong, clients.wrong[:5]
        wait_until(lambda: answered_before + clients.answered >= REQUESTS, "too slow", 900)
        print(f"{answered_before + clients.answered} requests, {len(clients.wrong)} of them failed or wrong")  # noqa: T201
    assert not clients.wrong, clients.wrong[:5]
    ledger = scene.world.ledger
    assert len(ledger.entries(NAME)) - entries == PROMOTIONS
    assert ledger.verify_chain() >= PROMOTIONS
    assert sum(line["new"] for line in done.lines) == NEW


def test_a_reconciler_killed_at_fifty_moments_leaves_one_of_two_versions_live(tmp_path_factory):
    """The next pass always finishes, and nothing is left behind; half of the kills fall into the pass's own writing."""
    folder = soak_folder("kills", tmp_path_factory)
    done = Done(folder / "kills.json")
    scene = Scene(folder, 51)
    live = done.lines[-1]["to"] if done.lines else 1
    highest = max([1, *(line["to"] for line in done.lines)])
    scene.promote(live)
    longest_s = LONGEST_S
    with scene.server(), Clients(scene.rest, count=1) as clients:
        clients.allowed = {live}
        with scene.watcher():
            scene.wait_live(live)
        while len(done.lines) < KILLS:
            version = highest + 1 if highest < 51 else live - 1 or 2
            highest = max(highest, version)
            rng = random.Random(f"{SEED} {len(done.lines)}")
            clients.allowed = {live, version}
            scene.promote(version)
            moment = kill_watcher(scene, live, version, rng, longest_s)
            found = scene.live()
            assert found in {live, version}, found
            if moment == "after its last write":
                longest_s *= 0.9
            with scene.watcher():
                scene.wait_live(version)
                wait_until(lambda version=version: settled(scene, version), "seen was not kept")
            assert_nothing_left(scene, version)
            assert not clients.wrong, clients.wrong[:5]
            live = version
            clients.allowed = {live}
            done.add(to=version, killed=moment, live_then=found)
    within = sum(line["killed"] == "between its first byte and its last write" for line in done.lines)
    print(f"{within} of {len(done.lines)} kills between the first staged byte and the last write")  # noqa: T201
    assert within >= KILLS / 2


def kill_watcher(scene, live, version, rng, longest_s):
    """Start one, kill it at a moment drawn from the first staged byte on; when that was."""
    with scene.watcher() as process:
        wait_until(lambda: begun(scene, version) or process.poll() is not None, "no byte was staged", every_s=0.002)
        time.sleep(rng.uniform(0, longest_s))
        finished = settled(scene, version)
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
    assert live != version
    return "after its last write" if finished else "between its first byte and its last write"


def begun(scene, version):
    base = scene.registered.base / NAME
    return (base / str(version)).exists() or any(base.glob(".staging-*/fetched/servable/*"))


def settled(scene, version):
    from registry.intent import load_seen

    seen = load_seen(Ledger(f"sqlite:///{scene.registered.folder}/slipway.db"), NAME)
    return seen is not None and seen.champion == version


def assert_nothing_left(scene, version):
    base = scene.registered.base
    assert [path.name for path in (base / NAME).iterdir() if path.name.startswith(".")] == []
    live = scene.world.live(NAME)
    assert live == {
        "alias": version,
        "production": [version],
        "ledger": version,
        "models.config": version,
        "labels.config": version,
    }
    scene.world.ledger.verify_chain()
