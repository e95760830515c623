"""`slipway serve --reconcile`: the server and the watcher beside it, from one command to a click that is live."""

import json
import os
import signal
import urllib.request

import pytest

from tests.pipeline.lifecycle_world import background, free_ports, wait_until
from tests.pipeline.reconcile_world import NAME, OTHER, ReconcileWorld, Server

pytestmark = pytest.mark.integration


def test_what_is_promoted_in_mlflow_goes_live_beside_the_server_and_both_end_together(tmp_path):
    world = ReconcileWorld(tmp_path)
    world.version(NAME)
    world.version(NAME, weights=OTHER)
    world.champion(1)
    server = Server(*free_ports())
    metrics = free_ports(1)[0]
    ports = ("--rest-port", server.rest, "--grpc-port", server.grpc, "--runtime", "onnxruntime")
    log = tmp_path / "serve.log"
    words = ("serve", "--reconcile", "--interval", "1", "--name", NAME, "--base", world.base, *ports)
    words += ("--metrics", "--reconcile-metrics-port", metrics, "--log-format", "json")
    with background(world, *words, log=log) as process:
        wait_until(lambda: _answers(server) == 1, log.read_text, timeout_s=120)
        world.champion(2)
        wait_until(lambda: _answers(server) == 2, log.read_text, timeout_s=120)
        wait_until(lambda: world.tags(2).get("slipway.deploy") == "live", log.read_text, timeout_s=60)
        world.assert_live(2)
        assert f'slipway_model_answers{{model="{NAME}"}} 1.0' in _page(server.rest)
        wait_until(lambda: "slipway_registry_up 1.0" in _page(metrics), log.read_text, timeout_s=30)
        lines = [json.loads(line) for line in log.read_text().splitlines() if line.startswith("{")]
        assert any(line["message"].startswith("listening on") for line in lines)
        family = _children(process.pid)
        assert len(family) >= 2
        os.kill(process.pid, signal.SIGTERM)
        assert process.wait(60) == 0
        wait_until(lambda: not any(_runs(pid) for pid in family), "a process is left behind", timeout_s=30)


def _answers(server):
    try:
        return server.answers_from()
    except Exception:  # noqa: BLE001 - it is starting
        return None


def _page(port):
    return urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=10).read().decode()


def _children(pid):
    with open(f"/proc/{pid}/task/{pid}/children") as file:  # noqa: PTH123
        return [int(child) for child in file.read().split()]


def _runs(pid):
    try:
        with open(f"/proc/{pid}/stat") as file:  # noqa: PTH123
            return file.read().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False
