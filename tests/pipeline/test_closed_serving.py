"""A served model behind closed doors: Slipway's commands work with a token and certificates, and do not without."""

import json

import numpy as np
import pytest

from tests.pipeline.lifecycle_world import background, free_ports, wait_until
from tests.pipeline.reconcile_world import NAME, OTHER, ReconcileWorld
from tests.serving.model_server.certificates import Authority, ssl_config
from tests.serving.model_server.closed_world import give_token
from tests.serving.model_server.servables import png

pytestmark = pytest.mark.integration


class ClosedWorld(ReconcileWorld):
    """Its commands have a token, and trust the authority of the server's certificate."""

    def __init__(self, folder):
        super().__init__(folder)
        authority = Authority()
        key, certificate = authority.issue("server")
        ssl_config(folder / "ssl.config", server_key=key, server_cert=certificate)
        (folder / "ca.pem").write_text(authority.pem)
        self.token = give_token(folder / "tokens", "slipway")

    @property
    def environment(self):
        return {**super().environment, "SLIPWAY_TOKEN": self.token, "SLIPWAY_CA_FILE": str(self.folder / "ca.pem")}


def test_serve_reconcile_status_verify_rollback_and_predict_work_behind_closed_doors(tmp_path, monkeypatch):
    world = ClosedWorld(tmp_path)
    world.version(NAME)
    world.version(NAME, weights=OTHER)
    world.champion(1)
    (tmp_path / "picture.png").write_bytes(png(np.zeros((6, 4, 3), np.uint8)))
    rest, grpc = free_ports()
    servers = ("--servers", f"grpcs://127.0.0.1:{grpc}")
    named = ("--name", NAME, "--base", world.base)
    doors = ("--access-tokens", "tokens", "--ssl-config", "ssl.config", "--access-log", "access.log")
    ports = ("--host", "0.0.0.0", "--rest-port", rest, "--grpc-port", grpc, "--runtime", "onnxruntime")
    log, outputs = tmp_path / "serve.log", []

    def run(*words, code=0, **environment):
        with monkeypatch.context() as patch:
            for variable in ("SLIPWAY_TOKEN", "SLIPWAY_CA_FILE"):
                patch.setenv(variable, (world.environment | environment)[variable])
            done = world.call(patch, *words)
        outputs.append(done.out + done.err)
        assert done.code == code, (words, done.err)
        return done

    with background(world, "serve", "--reconcile", "--interval", "1", *named, *ports, *doors, log=log):
        wait_until(lambda: "serving digits version 1" in log.read_text(), log.read_text, timeout_s=120)
        world.champion(2)
        wait_until(lambda: world.tags(2).get("slipway.deploy") == "live", log.read_text, timeout_s=120)
        ask = ("predict", "--name", NAME, "--json", "picture.png", "--address")
        for address in (f"https://127.0.0.1:{rest}", f"grpcs://127.0.0.1:{grpc}"):
            found = json.loads(run(*ask, address).out)["predictions"]
            assert found[0]["version"] == "2"
            assert "wants a token" in run(*ask, address, code=1, SLIPWAY_TOKEN="").err
            assert "lets nobody in with this token" in run(*ask, address, code=1, SLIPWAY_TOKEN="wrong").err
            assert "certificate" in run(*ask, address, code=1, SLIPWAY_CA_FILE="").err.lower()
        run("verify", *named, "--address", f"grpcs://127.0.0.1:{grpc}")
        assert "stable" in run("status", NAME, "--base", world.base, *servers).out
        refused = run("rollback", *named, *servers, code=1, SLIPWAY_TOKEN="wrong")
        assert "lets nobody in with this token" in refused.err
        world.assert_live(2)
        run("rollback", *named, *servers)
        world.assert_live(1)
    entries = [json.loads(line) for line in (tmp_path / "access.log").read_text().splitlines()]
    assert {"missing", "unknown", None} == {entry["denied"] for entry in entries}
    assert {entry["token"] for entry in entries if entry["denied"] is None} == {"slipway"}
    texts = [file.read_text(errors="replace") for file in tmp_path.glob("*") if file.is_file()]
    assert all(world.token not in text for text in (*outputs, *texts))


def test_serve_does_not_open_to_other_machines_by_itself(tmp_path):
    world = ReconcileWorld(tmp_path)
    done = world.run("serve", "--host", "0.0.0.0", "--name", NAME, "--base", world.base)
    assert done.code == 2
    assert done.err.startswith("Error: --host 0.0.0.0: others than this machine reach it")
