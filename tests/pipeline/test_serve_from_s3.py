"""A base path in S3: `slipway serve` mirrors it beside the server, and a promotion and a rollback reach it there."""

import re

import pytest

from pipeline.config import load_config
from pipeline.mirrored import mirror_directory
from serving.model_config import LABELS_CONFIG, listed
from serving.stores import open_store
from tests.pipeline.lifecycle_world import background, free_ports, wait_until
from tests.pipeline.reconcile_world import NAME, OTHER, ReconcileWorld, Server

pytestmark = pytest.mark.integration


@pytest.fixture
def world(tmp_path, s3_server):
    world = ReconcileWorld(tmp_path)
    world.version(NAME)
    world.version(NAME, weights=OTHER)
    world.champion(1)
    world.base = s3_server.bucket_for(tmp_path)
    return world


def test_what_is_promoted_and_rolled_back_in_s3_is_live_on_the_server(world, s3_server, monkeypatch):
    monkeypatch.delenv("AWS_ENDPOINT_URL_S3")  # the option says it
    server = Server(*free_ports())
    where = ("--name", NAME, "--base", world.base, "--s3-endpoint", s3_server.endpoint)
    ports = ("--rest-port", server.rest, "--grpc-port", server.grpc, "--runtime", "onnxruntime")
    log = world.folder / "serve.log"
    with background(world, "serve", "--reconcile", "--interval", "1", *where, *ports, log=log):
        wait_until(lambda: _answers(server) == 1, log.read_text, timeout_s=120)
        world.champion(2)
        wait_until(lambda: _answers(server) == 2, log.read_text, timeout_s=120)
        wait_until(lambda: world.tags(2).get("slipway.deploy") == "live", log.read_text, timeout_s=60)
        servers = ("--servers", server.address)
        done = world.run("rollback", NAME, *where[2:], *servers, timeout_s=120)
        assert done.code == 0, done.err
        wait_until(lambda: _answers(server) == 1, log.read_text, timeout_s=60)
        monkeypatch.setenv("AWS_ENDPOINT_URL_S3", s3_server.endpoint)
        store = open_store(world.base)
        assert store.versions(NAME) == (1, 2)
        labels = listed(store.update_file(LABELS_CONFIG, lambda text: text), LABELS_CONFIG, NAME)
        assert labels.labels["stable"] == 1
        status = world.run("status", *where, *servers)
        assert status.code == 0, status.err
        assert "1 AVAILABLE stable" in status.out
        assert "the base path is as the registry says" in status.out


def test_a_version_whose_bytes_in_s3_were_changed_is_not_served(world, s3_server):
    done = world.run("export", "--name", NAME, "--version", "1", "--base", world.base)
    assert done.code == 0, done.err
    bucket, prefix = world.base.removeprefix("s3://").split("/", 1)
    key = f"{prefix}/{NAME}/1/assets.extra/slipway/labels.json"
    s3_server.client.put_object(Bucket=bucket, Key=key, Body=b'["one", "two", "six"]')
    refused = world.run("serve", "--name", NAME, "--base", world.base, "--rest-port", free_ports()[0])
    assert refused.code == 1
    assert re.search(r"labels\.json.*expected", refused.err), refused.err


def test_a_version_that_is_not_served_and_was_changed_in_s3_keeps_no_server_from_starting(world, s3_server):
    for version in ("1", "2"):
        done = world.run("export", "--name", NAME, "--version", version, "--base", world.base)
        assert done.code == 0, done.err
    bucket, prefix = world.base.removeprefix("s3://").split("/", 1)
    key = f"{prefix}/{NAME}/2/assets.extra/slipway/labels.json"
    s3_server.client.put_object(Bucket=bucket, Key=key, Body=b'["one", "two", "six"]')
    rest, grpc = free_ports()
    words = ("--name", NAME, "--base", world.base, "--rest-port", rest, "--grpc-port", grpc, "--runtime", "onnxruntime")
    log = world.folder / "serve.log"
    with background(world, "serve", *words, log=log):
        wait_until(lambda: _answers(Server(rest, grpc)) == 1, log.read_text, timeout_s=120)
        assert f"{NAME} version 2 is not mirrored" in log.read_text()


def test_the_same_base_path_of_two_servers_is_mirrored_to_two_directories(world, s3_server, monkeypatch):
    places = set()
    for endpoint in (s3_server.endpoint, "http://127.0.0.1:9"):
        monkeypatch.setenv("AWS_ENDPOINT_URL_S3", endpoint)
        places.add(mirror_directory(load_config(None, {"base": world.base, "workdir": str(world.folder)})))
    assert len(places) == 2


@pytest.mark.parametrize("endpoint", ["127.0.0.1:9000", "http://key:hidden@127.0.0.1:9000", "ftp://s3"])
def test_an_endpoint_that_is_none_is_said_without_what_may_be_secret_in_it(world, endpoint):
    done = world.run("status", "--name", NAME, "--base", world.base, "--s3-endpoint", endpoint)
    assert done.code == 2
    assert "expected http://HOST:PORT" in done.err
    assert "hidden" not in done.err


def _answers(server):
    try:
        return server.answers_from()
    except Exception:  # noqa: BLE001 - it is starting
        return None
