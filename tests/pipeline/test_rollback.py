"""One command back to a former champion: verified on the server that holds it, label, registry, ledger."""

import re
import time

import pytest

from tests.pipeline.lifecycle_callers import Caller
from tests.pipeline.reconcile_world import NAME, OTHER, ReconcileWorld, follower


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    world = ReconcileWorld(tmp_path_factory.mktemp("rollback"))
    for weights in ({}, {"weights": OTHER}, {"weights": -OTHER}):
        world.version(NAME, **weights)
    with follower(world) as server:
        yield world, server


@pytest.fixture
def world(made):
    """Version 2 is live, 1 was before."""
    world = made[0]
    for version in (1, 2):
        world.registry.delete_tags(NAME, version, ["slipway.rolled_back"])
        world.champion(version)
        report = world.once()
        assert report.exit_code == 0, report.text()
    return world


def rollback(world, patch, *words):
    return world.call(patch, "rollback", *world.words(), *words)


def test_a_rollback_makes_the_champion_before_live_everywhere(world, made, monkeypatch):
    done = rollback(world, monkeypatch, "--reason", "complaints")
    assert done.code == 0, done.err
    assert f"{NAME}: champion is version 1, was version 2" in done.out
    world.assert_live(1)
    assert made[1].answers_from() == 1
    entry = world.ledger.entries(NAME)[-1]
    assert (entry.action, entry.from_version, entry.to_version, entry.reason) == ("rollback", 2, 1, "complaints")
    assert world.tags(2)["slipway.rolled_back"] == "complaints"
    assert world.tags(1)["slipway.deploy"] == "live"
    assert world.once().quiet


def test_it_says_how_long_each_part_took_and_takes_little_more(world):
    began = time.monotonic()
    done = world.run("rollback", *world.words())
    took_s = time.monotonic() - began
    assert done.code == 0, done.err
    parts = {part: float(took) for part, took in re.findall(r"(\w+) (\d+\.\d+) s", done.out)}
    assert {"import", "hash", "golden", "label", "registry"} <= parts.keys()
    assert took_s / 2 <= sum(parts.values()) <= took_s + 0.1  # the rest is the start of Python


def test_no_request_fails_while_it_is_rolled_back(world, made, monkeypatch, tmp_path):
    import numpy as np

    from tests.serving.model_server.servables import png

    picture = tmp_path / "picture.png"
    picture.write_bytes(png(np.zeros((6, 4, 3), np.uint8)))
    callers = [Caller(f"caller {number}", _ask(made[1], picture)) for number in range(2)]
    for caller in callers:
        caller.start()
        caller.until(2)
    assert rollback(world, monkeypatch).code == 0
    for caller in callers:
        caller.until(1)
        caller.stop()
        assert caller.failures == []
        assert caller.versions == [2, 1]


def _ask(server, picture):
    from serving.client import connect

    client, data = connect(server.address, NAME), picture.read_bytes()

    def ask():
        answer = client.predict([data])[0]
        return int(answer.version), answer.output

    return ask


def test_the_version_rolled_back_from_is_not_promoted_again_without_force(world, monkeypatch):
    assert rollback(world, monkeypatch, "--reason", "complaints").code == 0
    world.champion(2)
    report = world.once()
    assert report.exit_code == 3
    assert "it was rolled back from (complaints)" in world.tags(2)["slipway.deploy_reason"]
    assert "--force" in world.tags(2)["slipway.deploy_reason"]
    world.assert_live(1)


def test_a_rollback_killed_after_its_entry_is_finished_and_goes_no_further(world, monkeypatch):
    """Killed when the ledger was written, before the pass that tidies up: the next call is the same rollback."""
    with monkeypatch.context() as here:
        here.setattr("pipeline.rollback.pass_alone", _die)
        assert rollback(world, here).code == 130
    entries = len(world.ledger.entries(NAME))
    done = rollback(world, monkeypatch)
    assert done.code == 0, done.err
    assert len(world.ledger.entries(NAME)) == entries
    world.assert_live(1)


def _die(*_arguments, **_settings):
    raise KeyboardInterrupt
