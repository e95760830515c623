"""A server that asks for signatures, and what moves beside it: reconcile refuses, a rollback moves nothing."""

import pytest

from registry.signing import SIGNATURE, signature_of
from tests.pipeline.lifecycle_world import background, free_ports, wait_until
from tests.pipeline.reconcile_world import NAME, follower
from tests.pipeline.signed_world import SignedWorld

pytestmark = pytest.mark.integration


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    world = SignedWorld(tmp_path_factory.mktemp("signed"))
    with follower(world):
        yield world


@pytest.fixture
def world(made):
    """Version 1 is live, and both are signed by the good key."""
    for number in (1, 2):
        made.sign_version(number, made.keys.good)
    made.only_live(1)
    return made


def test_an_alias_on_a_version_that_is_not_signed_is_refused_and_what_is_live_stays(world):
    world.sign(world.keys.revoked)
    world.champion(2)
    report = world.once()
    assert report.exit_code == 3
    assert "is revoked" in world.tags(2)["slipway.deploy_reason"]
    world.assert_live(1)
    world.sign(world.keys.good)
    world.champion(2)
    world.once()
    world.champion(1)
    world.once()
    world.champion(2)
    assert world.once().exit_code == 0
    world.assert_live(2)


def test_a_rollback_to_a_version_whose_key_was_revoked_moves_nothing(world, monkeypatch):
    world.sign_version(1, world.keys.revoked)
    world.champion(2)
    assert world.once().exit_code == 0
    try:
        done = world.call(monkeypatch, "rollback", *world.words())
        assert done.code == 1
        assert "digits version 1: key" in done.error
        assert "is revoked" in done.error
        world.assert_live(2)
    finally:
        world.sign_version(1, world.keys.good)
    done = world.call(monkeypatch, "rollback", *world.words())
    assert done.code == 0, done.err
    world.assert_live(1)
    assert (world.base / NAME / "1.signature.json").read_bytes() == signature_of(world.registry.version(NAME, 1))


def test_a_version_that_is_not_signed_at_all_does_not_become_the_canary(world):
    world.registry.delete_tags(NAME, 2, [SIGNATURE])
    world.registry.set_alias(NAME, "challenger", 2)
    assert world.once().exit_code == 3
    assert "is not signed" in world.tags(2)["slipway.deploy_reason"]
    found = world.everywhere()
    assert (found["alias"], found["labels"], found["models"]) == (1, 1, 1)
    assert "canary" not in world.listing()[0].labels


def test_serve_has_its_server_ask_for_signatures(world):
    import psutil

    rest, grpc = free_ports()
    log = world.folder / "serve.log"
    words = ("serve", "--name", NAME, "--base", world.base, "--runtime", "onnxruntime", *world.signing_words())
    with background(world, *words, "--rest-port", rest, "--grpc-port", grpc, log=log) as process:

        def flags():
            started = psutil.Process(process.pid).children(recursive=True)
            return [word for each in started for word in each.cmdline() if word.startswith("--trusted_keys")]

        wait_until(lambda: f"at http://127.0.0.1:{rest}" in log.read_text(), log.read_text)
        assert flags() == [f"--trusted_keys={world.keys.trusted}"]
