"""MLflow is away in the middle of a rollout: nothing goes on, but bad traffic ends."""

import pytest

from pipeline.config import load_config
from pipeline.reconcile.world import World
from pipeline.rollout.ending import send_traffic
from pipeline.rollout.looking import Conduct, look
from pipeline.rollout.policy import RolloutPolicy
from pipeline.rollout.state import RolloutState, load_state, save_state
from registry.ledger import Ledger
from serving.traffic import Traffic, parse_traffic
from slipway.errors import UnavailableError
from tests.pipeline.rollout_scene import Seen, telling
from tests.pipeline.rollout_world import NAME


class Away:
    """A registry that does not answer."""

    def __getattr__(self, name):
        raise UnavailableError("tracking store http://mlflow:5000: nothing answers there")


@pytest.fixture
def seen():
    seen = Seen()
    seen.happens(1, 2, requests=1)
    return seen


@pytest.fixture
def conduct(tmp_path, seen):
    """A rollout under way at 50 %, whose registry has just gone."""
    with telling(seen) as address:
        policy = RolloutPolicy(steps="50,100", rest_servers=address)
        base = tmp_path / "base"
        base.mkdir()
        config = load_config(None, {"name": NAME, "base": str(base)})
        world = World(config, Away(), Ledger(f"sqlite:///{tmp_path}/slipway.db"), serving=None)
        save_state(world.ledger, RolloutState("ab" * 8, NAME, 2, 1, policy, world.clock()))
        send_traffic(world, NAME, Traffic(50, 50))
        conduct = Conduct(world, lambda begun: begun, gate=None)
        with pytest.raises(UnavailableError, match="mlflow:5000"):
            look(conduct)
        yield conduct


def traffic(conduct):
    content = conduct.world.store.update_file("traffic.json", lambda text: text)
    return None if content is None else parse_traffic(content, "traffic.json")[NAME]


def state(conduct):
    return load_state(conduct.world.ledger, NAME)


def begin_counting(conduct):
    """As the first look of a rollout does: what was answered before does not count."""
    from dataclasses import replace

    from pipeline.rollout.arms import counters_of, look_between
    from serving.client.observations import read_observations

    observations = [read_observations(address, NAME) for address in state(conduct).policy.addresses]
    _, counters = look_between({}, counters_of(observations, (1, 2)), (1, 2))
    save_state(conduct.world.ledger, replace(state(conduct), counters=counters))


def test_a_good_candidate_neither_goes_on_nor_loses_its_traffic_nor_what_was_seen(conduct, seen):
    begin_counting(conduct)
    seen.happens(1, 2)
    for _ in range(2):
        with pytest.raises(UnavailableError, match="mlflow:5000"):
            look(conduct)
    assert traffic(conduct) == Traffic(50, 50)
    assert state(conduct).progress.looks == 0
    assert state(conduct).counters["process 1"]["2"].requests == 1


def test_a_bad_candidate_loses_its_traffic_and_the_rest_is_done_when_mlflow_is_back(conduct, seen):
    begin_counting(conduct)
    seen.happens(1, 2, "errors on 2 %")
    with pytest.raises(UnavailableError, match="mlflow:5000"):
        look(conduct)
    assert traffic(conduct) is None
    assert state(conduct).phase == "aborting"
    assert state(conduct).reason.startswith("errors: worse by more than 0")
