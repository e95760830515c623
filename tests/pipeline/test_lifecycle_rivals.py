"""Two people promote at the same time: one wins, the other says so, and all records agree."""

import os
import signal
import time

import pytest

from registry.client import NewVersion
from tests.pipeline.lifecycle_world import NAME

pytestmark = pytest.mark.integration


@pytest.fixture
def twins(world):
    """Versions 2 and 4, the same good servable twice."""
    good = world.registry.version(NAME, 2)
    world.registry.create_version(NewVersion(NAME, good.source, good.run_id, good.tags, good.description))
    return world


def assert_all_agree(world, champion):
    assert set(map(str, world.live().values())) == {str(champion), f"[{champion}]"}
    world.ledger.verify_chain()


def test_a_promotion_that_was_overtaken_says_so(twins):
    """A is stopped between its gate and its move, B promotes, A goes on: A fails in one line, B's version is live."""
    overtaken = twins.start("promote", "--version", "2")
    deadline = time.monotonic() + 120
    while not (twins.base / NAME / "2").exists():
        assert overtaken.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.001)
    os.kill(overtaken.pid, signal.SIGSTOP)
    try:
        winner = twins.run("promote", "--version", "4")
    finally:
        os.kill(overtaken.pid, signal.SIGCONT)
    loser = twins.finish(overtaken)
    assert winner.code == 0, winner.err
    assert loser.code == 1
    assert "the champion is version 4, expected 1: somebody moved it" in loser.error
    assert "gate --name resnet50 --version 2" in loser.error
    assert_all_agree(twins, 4)
    assert [entry.to_version for entry in twins.ledger.entries(NAME)] == [1, 4]


def test_promotions_at_the_same_time_leave_one_champion_in_every_record(twins):
    """Whoever is first wins; the other either beats the winner in its own gate, or says that it was overtaken."""
    rivals = {version: twins.start("promote", "--version", version) for version in (2, 4)}
    ended = {version: twins.finish(process) for version, process in rivals.items()}
    moved = [entry.to_version for entry in twins.ledger.entries(NAME)][1:]
    assert set(moved) == {version for version, done in ended.items() if done.code == 0}
    assert len(moved) in {1, 2}
    for done in ended.values():
        assert done.code == 0 or (done.code == 1 and done.error)
    assert_all_agree(twins, moved[-1])
