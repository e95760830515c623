"""A rollout's lease: who has lost it changes nothing more, but for taking bad traffic away."""

from contextlib import contextmanager
from dataclasses import replace

import pytest

from pipeline.config import load_config
from pipeline.reconcile.world import World
from pipeline.rollout import conducting, watching
from pipeline.rollout.arms import counters_of, look_between
from pipeline.rollout.conducting import Request, check, conduct
from pipeline.rollout.ending import present_traffic, send_traffic
from pipeline.rollout.looking import Conduct, Outcome, look
from pipeline.rollout.policy import RolloutPolicy
from pipeline.rollout.reading import read_servers
from pipeline.rollout.state import RolloutState, load_state, save_state
from registry.lease import lease
from registry.ledger import Ledger
from serving.traffic import Traffic
from slipway.errors import ConflictError, UnavailableError
from tests.pipeline.rollout_scene import Seen, telling
from tests.pipeline.rollout_world import NAME


class Aliases:
    """A registry of a champion 1 and a challenger 2."""

    def aliases(self, _name):
        return {"champion": 1, "challenger": 2}


def lost():
    raise ConflictError("lease 'rollout digits': its time ran out before the work was done.")


@pytest.fixture
def world(tmp_path):
    base = tmp_path / "base"
    base.mkdir()
    config = load_config(None, {"name": NAME, "base": str(base)})
    return World(config, Aliases(), Ledger(f"sqlite:///{tmp_path}/slipway.db"), serving=None)


@pytest.fixture
def seen():
    seen = Seen()
    seen.happens(1, 2, requests=1)
    return seen


@pytest.fixture
def under_way(world, seen):
    """A rollout at 50 %, conducted by a process that has lost its lease."""
    with telling(seen) as address:
        policy = RolloutPolicy(steps="50,100", rest_servers=address)
        observations, _ = read_servers(policy.addresses, NAME, (1, 2))
        _, counters = look_between({}, counters_of(observations, (1, 2)), (1, 2))
        save_state(world.ledger, RolloutState("ab" * 8, NAME, 2, 1, policy, world.clock(), counters=counters))
        send_traffic(world, NAME, Traffic(50, 50))
        yield Conduct(replace(world, check=lost), lambda begun: begun, gate=None)


def test_a_look_without_the_lease_changes_nothing(under_way, seen):
    for _ in range(2):
        seen.happens(1, 2)
        with pytest.raises(ConflictError, match="time ran out"):
            look(under_way)
    assert load_state(under_way.world.ledger, NAME).progress.looks == 0
    assert present_traffic(under_way.world, NAME) == Traffic(50, 50)


def test_a_bad_candidate_loses_its_traffic_all_the_same(under_way, seen):
    seen.happens(1, 2, "errors on 2 %")
    with pytest.raises(ConflictError, match="time ran out"):
        look(under_way)
    assert present_traffic(under_way.world, NAME) is None
    assert load_state(under_way.world.ledger, NAME).phase == "running"


def test_a_rollout_is_conducted_under_its_lease(world, monkeypatch):
    @contextmanager
    def opened(config):
        yield world

    def look_while_another_takes_over(how):
        how.world.check()
        monkeypatch.setattr(world.ledger, "clock", lambda: world.clock() + 3600)
        with lease(world.ledger, f"rollout {NAME}", 3600), pytest.raises(ConflictError, match="time ran out"):
            how.world.check()
        return Outcome(None)

    monkeypatch.setattr(conducting, "open_world", opened)
    monkeypatch.setattr(conducting, "look", look_while_another_takes_over)
    monkeypatch.setattr(conducting, "_RENEWED_S", 0.0)
    conduct(world.config, Request(lambda begun: begun or RolloutPolicy()), gate=None)


class Renewed:
    """A lease whose time ran out while the ledger was away, and that is renewed when it is back."""

    renewed = False

    def check(self):
        if not self.renewed:
            lost()


def test_a_lease_that_is_renewed_after_the_ledger_s_absence_is_not_lost():
    held = Renewed()
    check(held, lambda _seconds: setattr(held, "renewed", True))
    with pytest.raises(ConflictError):
        check(Renewed(), lambda _seconds: None)


def looks(monkeypatch, *outcomes):
    """Each look comes to the next of these, or raises it."""
    left = iter(outcomes)

    def look_at(_conduct):
        outcome = next(left)
        if isinstance(outcome, Exception):
            raise outcome
        return outcome

    monkeypatch.setattr(watching, "look", look_at)


def test_a_watch_goes_on_when_somebody_moves_an_alias_or_nothing_answers(world, monkeypatch):
    over = Outcome(None, ended="left")
    looks(monkeypatch, ConflictError("lease 'move digits': bea holds it"), UnavailableError("no server"), over)
    said = []
    assert watching.watch(Conduct(world, None, None), 1.0, said.append, lambda _seconds: None) is over
    assert said == ["waiting: lease 'move digits': bea holds it", "waiting: no server"]


def test_a_watch_ends_when_another_conducts_the_rollout(world, monkeypatch):
    looks(monkeypatch, ConflictError("lease 'move digits': bea holds it"), Outcome(None, ended="left"))
    with pytest.raises(ConflictError, match="rollout digits"):
        watching.watch(Conduct(replace(world, check=lost), None, None), 1.0, print, lambda _seconds: None)
