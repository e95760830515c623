"""Rollouts, many of them: 2,000 of each kind by the decision alone, three of each with a server under load, and kills.

SLIPWAY_SOAK_FOLDER names a folder that keeps what is done: a soak that was stopped goes on there. Run with `-s` to see
the tables.
"""

import json
import os
import shutil
from pathlib import Path

import pytest

from slipway.files import write_atomically
from tests.pipeline.rollout_scene import Scene
from tests.pipeline.rollout_simulation import KINDS, Simulated, simulate, table
from tests.pipeline.rollout_world import KINDS as NETWORKS
from tests.pipeline.rollout_world import NAME, STABLE, Clients, RolloutWorld

pytestmark = pytest.mark.soak

SIMULATED = 2_000
PIECE = 100
LIVE = 3
REASON = {"3 points less accurate": "accuracy", "50 % slower": "latency", "errors on 2 %": "errors"}


class Kept:
    """Results by name, in a file if there is a folder to keep them in."""

    def __init__(self, folder, name):
        self._file = Path(folder) / f"{name}.json"
        self.done = json.loads(self._file.read_text()) if self._file.exists() else {}

    def record(self, name, value):
        self.done[name] = value
        write_atomically(self._file, json.dumps(self.done).encode())


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    kept = os.environ.get("SLIPWAY_SOAK_FOLDER")
    folder = Path(kept).absolute() if kept else tmp_path_factory.mktemp("rollouts")
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def test_of_2000_simulated_rollouts_a_hundredth_of_the_equal_is_aborted_and_of_the_others_nearly_all(folder):
    kept = Kept(folder, "simulated")
    for kind in KINDS:
        for first in range(0, SIMULATED, PIECE):
            name = f"{kind} from {first}"
            if name not in kept.done:
                ended = [simulate(kind, seed) for seed in range(first, first + PIECE)]
                kept.record(name, [vars(each) for each in ended])
    results = {
        kind: [Simulated(**each) for first in range(0, SIMULATED, PIECE) for each in kept.done[f"{kind} from {first}"]]
        for kind in KINDS
    }
    print(f"\n{table(results)}")  # noqa: T201 - the table is what a soak is for
    equal = results.pop("equal")
    assert sum(each.verdict == "abort" for each in equal) <= 0.01 * SIMULATED
    assert sum(each.verdict == "promote" for each in equal) >= 0.95 * SIMULATED
    for kind, ended in results.items():
        found = [each for each in ended if each.verdict == "abort" and each.reason.startswith(REASON[kind])]
        assert len(found) >= 0.95 * SIMULATED


def test_each_kind_ends_as_it_should_three_times_with_a_server_under_load(folder):
    kept = Kept(folder, "live")
    for kind in NETWORKS:
        for number in range(LIVE):
            name = f"{kind}, {number + 1}"
            if name not in kept.done:
                kept.record(name, live(folder / f"live {kind} {number}".replace(" ", "-"), kind, number))
                print(name, kept.done[name])  # noqa: T201
    print("\n| candidate, run | ended | requests | of the canary | took |\n|---|---|---|---|---|")  # noqa: T201
    for name, done in kept.done.items():
        cells = (name, done["ended"], str(done["requests"]), str(done["canary"]), f"{done['took_s']:.0f} s")
        print(f"| {' | '.join(cells)} |")  # noqa: T201
    for name, done in kept.done.items():
        kind = name.rpartition(",")[0]
        wanted = "promote: every measure" if kind == "equal" else f"abort: {REASON[kind]}: worse by more than"
        assert done["ended"].startswith(wanted), name
        assert done["failed"] == 0


def live(folder, kind, seed):
    """One rollout under the default policy; how it ended."""
    shutil.rmtree(folder, ignore_errors=True)  # of one that was stopped
    folder.mkdir()
    world = RolloutWorld(folder)
    world.made_live(world.candidate(STABLE))
    version = world.candidate(NETWORKS[kind]).version
    with world.serving() as ports, Clients(ports[0], 3, seed) as clients:
        world.registry.set_alias(NAME, "challenger", version)
        done = world.run(
            "rollout", "--watch", "--json", "--config", world.policy(ports, look_interval_s=1), timeout_s=1800
        )
        assert clients.stay_with(version if kind == "equal" else 1)
    assert done.code == (0 if kind == "equal" else 3), done.out + done.err
    report = json.loads(done.out)["report"]
    failed = sum(count for (by, status), count in clients.versions.items() if status != 200 and by != str(version))
    return {
        "ended": f"{report['verdict']}: {report['reason']}",
        "requests": sum(clients.versions.values()),
        "canary": sum(count for (by, _), count in clients.versions.items() if by == str(version)),
        "took_s": report["elapsed_s"],
        "failed": failed + len(clients.troubles),
    }


def test_an_abort_and_a_promotion_survive_a_kill_before_each_of_their_effects(tmp_path):
    with pytest.MonkeyPatch.context() as patch, Scene(tmp_path, patch).open() as scene:
        for check in (scene.check_killed_abort, scene.check_killed_promotion):
            moments = 1
            while check(moments):
                moments += 1
            print(f"{check.__name__}: {moments - 1} moments")  # noqa: T201
            assert moments > 10
