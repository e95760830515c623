"""Each fault of what the serving path stands on, in turn, while a client keeps predicting: what it costs, and how long.

During each fault another version is promoted; it goes live when the fault is over, and nothing is lost.
"""

import os
import re
import secrets
import time
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

import pytest

from tests.browser.caller import calling
from tests.pipeline.lifecycle_world import wait_until
from tests.stack.faulty_s3 import Fault, FaultyS3
from tests.stack.followers import Followers

pytestmark = [pytest.mark.integration, pytest.mark.timeout(900)]

_RECOVERY_S = 120
_DEAD_S = 3.0  # how long a server is away
_MET = 6  # faulty answers before the fault is over


@dataclass(frozen=True)
class Row:
    """What a fault did."""

    fault: str
    lasted_s: float
    recovered_s: float
    asked: int
    failed: int
    lost: str


class Scene:
    """A world whose version 1 is live, and that goes on to the next one at each fault."""

    def __init__(self, stack, world, proxy, caller):
        self.stack = stack
        self.world = world
        self.proxy = proxy
        self.caller = caller
        self.history = [1]
        self.rows = []

    def endure(self, name, fault):
        """Promote the next version, have the fault, and wait until that version answers."""
        version = self.history[-1] + 1
        asked, failed, began = len(self.caller.versions), len(self.caller.failures), time.monotonic()
        fault(version)
        over = time.monotonic()
        self.answers_from(version)
        recovered_s = time.monotonic() - over
        self.history.append(version)
        wait_until(lambda: self.settled(version), self.world.logs, _RECOVERY_S)
        lost = self.world.lost(version, self.history)
        row = Row(
            name,
            over - began,
            recovered_s,
            len(self.caller.versions) - asked,
            len(self.caller.failures) - failed,
            ", ".join(lost) or "nothing",
        )
        self.rows.append(row)
        assert lost == []
        assert self.caller.failures[failed:] == []

    def settled(self, version):
        """Whether the pass that made it live has ended."""
        return self.world.deployed(version) == "live"

    def database_restarted(self, version):
        self.world.promote(version)
        self.stack.postgresql.stop()
        time.sleep(_DEAD_S)
        started(self.stack.postgresql)

    def s3_stopped(self, version):
        self.stack.s3.stop()
        self.world.promote(version)
        time.sleep(_DEAD_S)
        started(self.stack.s3)

    def s3_having(self, fault):
        """S3 as the proxy makes it, until that was met some times."""

        def had(version):
            with self.proxy.having(fault):
                self.world.promote(version)
                wait_until(lambda: self.proxy.met >= _MET, self.world.logs, 60)

        return had

    def slow_s3(self, version):
        """The version goes live while S3 is slow."""
        with self.proxy.having(Fault(delay_s=0.25)):
            self.world.promote(version)
            self.answers_from(version)

    def keys_refused(self, version):
        self.world.suspend()
        try:
            self.world.promote(version)
            wait_until(lambda: "expected credentials" in self.said("watch"), self.world.logs, 60)
        finally:
            self.world.enable()

    def full_disk(self, version):
        with self.world.full_disk():
            self.world.promote(version)
            wait_until(lambda: re.search("space|too large", self.said("sync")), self.world.logs, 60)

    def answers_from(self, version):
        """Wait until it does."""
        wait_until(lambda: self.caller.versions[-1] == version, self.world.logs, _RECOVERY_S, 0.02)

    def said(self, name):
        """A process' log."""
        return (self.world.folder / f"{name}.log").read_text()


def started(service):
    """Have it running, and answering."""
    service.start()
    wait_until(service.answers, "the service does not come back", 120)


@pytest.fixture
def proxy(stack):
    made = FaultyS3(stack.s3.port)
    yield made
    made.close()


@pytest.fixture
def alone(stack):
    """Nobody else follows the registry: the stack's own watcher would refuse what nobody signed."""
    reconciler = stack.parts["reconciler"].service
    reconciler.stop()
    yield
    started(reconciler)


@pytest.fixture
def world(signed_in, alone, proxy, tmp_path, monkeypatch):
    made = Followers(tmp_path, signed_in, f"faults-{secrets.token_hex(3)}", proxy.endpoint)
    for key, value in signed_in.s3.environment(made.user).items():
        monkeypatch.setenv(key, value)  # what this process looks at S3 with, past the proxy
    yield made
    made.leave()


def test_no_fault_costs_a_prediction_or_a_version_and_what_was_promoted_meanwhile_goes_live(
    stack, world, proxy, capsys
):
    names = [
        "database restarted",
        "S3 server stopped",
        "S3 answers 500",
        "S3 answers 503",
        "S3 answers slowly",
        "S3 bodies cut short",
        "keys refused by S3",
        "clock skewed by an hour",
        "disk full",
    ]
    for seed in range(1, len(names) + 2):
        world.register(seed=seed)
    with world.following() as url:
        world.promote(1)
        seeds = {seed: seed for seed in range(1, len(names) + 2)}
        wait_until(lambda: world.deployed(1) == "live", world.logs, _RECOVERY_S)
        with calling(url, seeds) as caller:
            wait_until(lambda: caller.versions, world.logs, 60)
            scene = Scene(stack, world, proxy, caller)
            faults = [
                scene.database_restarted,
                scene.s3_stopped,
                scene.s3_having(Fault(500)),
                scene.s3_having(Fault(503)),
                scene.slow_s3,
                scene.s3_having(Fault(cut=True)),
                scene.keys_refused,
                scene.s3_having(Fault(skew=timedelta(hours=-1))),
                scene.full_disk,
            ]
            try:
                for name, fault in zip(names, faults, strict=True):
                    scene.endure(name, fault)
            finally:
                with capsys.disabled():
                    print(f"\n{table(scene.rows)}")  # noqa: T201 - the table is what is asked for
        assert caller.failures == []
    assert len(scene.rows) == len(names)
    keep(table(scene.rows))


def table(rows):
    """The rows as people read them."""
    lines = [f"{'fault':<26}{'lasted':>8}{'recovered in':>14}{'predictions':>13}{'failed':>8}  lost"]
    lines += [
        f"{row.fault:<26}{row.lasted_s:>6.1f} s{row.recovered_s:>12.1f} s{row.asked:>13}{row.failed:>8}  {row.lost}"
        for row in rows
    ]
    return "\n".join(lines)


def keep(text):
    """Leave it with the other artifacts of the tests."""
    folder = Path(os.environ.get("SLIPWAY_TEST_ARTIFACTS", "test-artifacts"))
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "stack-faults.txt").write_text(f"{text}\n")
