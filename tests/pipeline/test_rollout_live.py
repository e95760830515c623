"""A rollout with a real server under load: one candidate that fails on some pictures, one that is as good."""

import pytest

from tests.pipeline.rollout_world import KINDS, NAME, STABLE, Clients, RolloutWorld

pytestmark = pytest.mark.integration

SHORT = {
    "steps": "20,50",
    "least_requests": 150,
    "error_tolerance": 0.05,
    "latency_tolerance": 1.5,
    "accuracy_tolerance": 0.1,
    "look_interval_s": 0.5,
}


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    world = RolloutWorld(tmp_path_factory.mktemp("rollout-live"))
    world.made_live(world.candidate(STABLE))
    return world


def test_a_rollout_under_load_aborts_a_candidate_that_fails_and_promotes_one_that_is_as_good(world):
    bad, good = world.candidate(KINDS["errors on 2 %"]), world.candidate(KINDS["equal"])
    with world.serving() as ports, Clients(ports[0], 3, seed=4) as clients:
        world.registry.set_alias(NAME, "challenger", bad.version)
        exact = world.policy(ports, **SHORT | {"error_tolerance": 0.01})
        aborted = world.run("rollout", "--watch", "--config", exact)
        assert aborted.code == 3, aborted.out + aborted.err
        assert "abort: errors: worse by more than 0" in aborted.out
        assert clients.stay_with(1), "of the canary's traffic, nothing is left"

        world.registry.set_alias(NAME, "challenger", good.version)
        promoted = world.run("rollout", "--watch", "--config", world.policy(ports, **SHORT))
        assert promoted.code == 0, promoted.out + promoted.err
        assert "promote: every measure lets it take all of the traffic" in promoted.out
        assert clients.stay_with(good.version)
    assert clients.troubles == []
    assert {version for version, _ in clients.versions} == {"1", str(bad.version), str(good.version)}
    assert {version for version, status in clients.versions if status != 200} == {str(bad.version)}
    assert world.live(NAME)["alias"] == good.version
    tags = world.registry.version(NAME, bad.version).tags
    assert tags["slipway.deploy"] == "refused"
    assert "errors: worse by more than 0" in tags["slipway.deploy_reason"]
