"""A base path in S3: what serves from it asks for signatures at each hop, and lets go of what a revoked key signed."""

import pytest

from slipway.errors import NotFoundError
from tests.pipeline.lifecycle_world import background, free_ports, wait_until
from tests.pipeline.reconcile_world import NAME, Server
from tests.pipeline.signed_world import SignedWorld

pytestmark = pytest.mark.integration


@pytest.fixture
def world(tmp_path, s3_server):
    world = SignedWorld(tmp_path)
    world.champion(1)
    world.base = s3_server.bucket_for(tmp_path)
    return world


def answers_nothing(server):
    try:
        server.answers_from()
    except NotFoundError:
        return True
    return False


def serve(world, server):
    where = ("--name", NAME, "--base", world.base, *world.signing_words())
    return ("serve", *where, "--rest-port", server.rest, "--grpc-port", server.grpc, "--runtime", "onnxruntime")


def test_what_is_signed_is_mirrored_and_served_until_its_key_is_revoked(world, monkeypatch):
    server = Server(*free_ports())
    log = world.folder / "serve.log"
    with background(world, *serve(world, server), log=log):
        wait_until(lambda: f"at http://127.0.0.1:{server.rest}" in log.read_text(), log.read_text, timeout_s=120)
        assert server.answers_from() == 1
        (mirrored,) = (world.folder / ".slipway" / "mirror").glob(f"*/{NAME}")
        assert sorted(each.name for each in mirrored.iterdir()) == ["1", "1.signature.json"]
        world.keys.revoke(world.keys.good)
        wait_until(lambda: not (mirrored / "1").exists(), log.read_text, timeout_s=60)
        said = f"{NAME} version 1 is refused: removed here, where it may have been served"
        assert said in log.read_text()
        assert f"key {world.keys.good.key_id} is revoked" in log.read_text()
        wait_until(lambda: answers_nothing(server), log.read_text, timeout_s=60)  # no version is left
    done = world.call(monkeypatch, *serve(world, server))
    assert done.code == 1
    assert "is revoked" in done.error


def test_a_signature_that_somebody_changes_in_the_bucket_while_nothing_serves_is_published_anew(
    world, s3_server, monkeypatch
):
    done = world.call(
        monkeypatch, "export", "--version", 1, "--name", NAME, "--base", world.base, *world.signing_words()
    )
    assert done.code == 0, done.err
    bucket, prefix = world.base.removeprefix("s3://").split("/", 1)
    where = {"Bucket": bucket, "Key": f"{prefix}/{NAME}/1.signature.json"}
    good = s3_server.client.get_object(**where)["Body"].read()
    s3_server.client.put_object(**where, Body=b"{}")
    done = world.call(
        monkeypatch, "export", "--version", 1, "--name", NAME, "--base", world.base, *world.signing_words()
    )
    assert done.code == 0, done.err
    assert s3_server.client.get_object(**where)["Body"].read() == good
