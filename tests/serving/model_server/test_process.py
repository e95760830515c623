"""The server as a process, without a model to load."""

import signal
import socket
import sys
from pathlib import Path

import pytest

from tests.serving.model_server.processes import model_server


@pytest.fixture
def log(tmp_path):
    return tmp_path / "log"


def test_ports_open_before_there_is_a_model_and_no_runtime_is_imported(tmp_path, log):
    command = (sys.executable, "-X", "importtime")
    with model_server(log, f"--model_base_path={tmp_path / 'none'}", "--model_name=m", command=command) as server:
        server.wait_for(lambda: server.request("GET", "/healthz") == (503, {"status": "NOT_SERVING"}))
        assert server.request("GET", "/v1/models") == (200, {"models": [{"name": "m", "labels": {}, "versions": []}]})
        maps = Path(f"/proc/{server.process.pid}/maps").read_text()
        assert server.stop() == 0
        assert f"listening on http://127.0.0.1:{server.rest_port} and grpc://127.0.0.1:{server.port}" in server.log
        imported = {line.rpartition("|")[2].strip() for line in server.log.splitlines() if "import time:" in line}
    assert "serving.model_server.process" in imported
    assert not {"tensorflow", "keras", "mlflow", "pandas", "sqlalchemy"} & imported
    assert "tensorflow" not in maps


def test_sigint_stops_it_like_sigterm(tmp_path, log):
    with model_server(log, f"--model_base_path={tmp_path}") as server:
        server.wait_for(lambda: server.request("GET", "/healthz")[0] == 503)
        assert server.stop(signal.SIGINT) == 0
        assert server.log.rstrip().endswith("stopped")


@pytest.mark.parametrize("flag", ["port", "rest_api_port"])
def test_a_port_in_use_is_one_line_that_names_port_and_flag(tmp_path, log, flag):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with model_server(log, f"--model_base_path={tmp_path}", f"--{flag}={port}") as server:
            assert server.process.wait(30) == 1
            errors = [line for line in server.log.splitlines() if line.startswith("error: ")]
            assert len(errors) == 1
            assert errors[0].startswith(f"error: --{flag}={port}: cannot listen on 127.0.0.1:{port}")
            assert "Traceback" not in server.log


def test_a_config_with_a_mistake_stops_the_start_and_names_file_and_line(tmp_path, log):
    config = tmp_path / "models.config"
    config.write_text("model_config_list {\n  config { nam: 'm' }\n}")
    with model_server(log, f"--model_config_file={config}") as server:
        assert server.process.wait(30) == 2
        assert f"error: {config}: line 2: " in server.log
        assert "Traceback" not in server.log
