"""The sidecar beside a server: what its probes say, whoever else talks to it, and after a restart without S3."""

import os
import socket
import subprocess
import sys
import urllib.error
import urllib.request
from contextlib import contextmanager

import pytest
from click.testing import CliRunner

from serving.stores import open_store
from serving.sync.__main__ import main
from serving.sync.loop import Progress
from tests.pipeline.lifecycle_world import free_ports, wait_until
from tests.serving.stores.bundles import bundle_of, make_bundle


@contextmanager
def sidecar(base, local, port, **environment):
    process = subprocess.Popen(
        [sys.executable, "-m", "serving.sync", f"--from={base}", f"--to={local}", f"--port={port}", "--interval=0.2"],
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    try:
        yield process
    finally:
        process.terminate()
        process.communicate(timeout=60)


def asked(port, path):
    """Status and body."""
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=5) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode()


@pytest.fixture
def environment(s3_server):
    return dict(os.environ)


@pytest.fixture
def local(tmp_path):
    directory = tmp_path / "local"
    directory.mkdir()
    return directory


@pytest.mark.integration
def test_probes_and_metrics_answer_while_others_hold_connections_and_say_nothing(
    tmp_path, local, s3_server, environment
):
    base, (port,) = s3_server.bucket_for(tmp_path), free_ports(1)
    source = tmp_path / "source"
    open_store(base).publish("digits", 1, bundle_of(source, make_bundle(source)))
    with sidecar(base, local, port, **environment) as process:
        wait_until(lambda: asked(port, "/readyz")[0] == 200, lambda: f"{process.poll()}", timeout_s=60)
        silent = [socket.create_connection(("127.0.0.1", port)) for _ in range(20)]
        silent[0].sendall(b"GET /livez HT")
        assert asked(port, "/livez") == (200, "alive")
        status, metrics = asked(port, "/metrics")
        assert status == 200
        assert 'slipway_sync_fetched_versions_total{model="digits"} 1.0' in metrics
        assert asked(port, "/etc/passwd")[0] == 404
        for each in silent:
            each.close()
    assert open_store(str(local)).versions("digits") == (1,)


@pytest.mark.integration
def test_after_a_restart_without_s3_it_is_ready_if_an_earlier_run_left_versions(tmp_path, local, environment):
    """A pod whose server has versions to serve is to get traffic, whether S3 is there or not."""
    away = {**environment, "AWS_ENDPOINT_URL_S3": "http://127.0.0.1:9"}
    empty, full = tmp_path / "empty", local
    empty.mkdir()
    source = tmp_path / "source"
    open_store(str(full)).publish("digits", 1, bundle_of(source, make_bundle(source)))
    first, second = free_ports(2)
    with sidecar("s3://models/x", full, first, **away), sidecar("s3://models/x", empty, second, **away):
        wait_until(lambda: asked(first, "/livez")[0] == 200, "it does not start", timeout_s=60)
        wait_until(lambda: asked(second, "/livez")[0] == 200, "it does not start", timeout_s=60)
        assert asked(first, "/readyz") == (200, "ready")
        assert asked(second, "/readyz")[0] == 503
    assert open_store(str(full)).versions("digits") == (1,)


def test_it_is_alive_while_a_version_that_takes_long_goes_on_coming():
    now = [0.0]
    progress = Progress(clock=lambda: now[0])
    for now[0] in range(0, 3600, 60):
        assert progress.alive
        progress.moved()
    now[0] += 3600
    assert not progress.alive


@pytest.mark.parametrize("interval", ["-1", "0", "nan", "inf", "1e9"])
def test_an_interval_that_is_none_is_refused(tmp_path, interval):
    done = CliRunner().invoke(main, ["--from=s3://models/x", f"--to={tmp_path}", f"--interval={interval}"])
    assert done.exit_code == 2
    assert "expected more than 0" in done.stderr


@pytest.mark.integration
def test_it_ends_at_once_while_s3_takes_a_request_and_says_nothing(local, environment):
    with socket.create_server(("127.0.0.1", 0)) as silent:
        silent.settimeout(60)
        away = {**environment, "AWS_ENDPOINT_URL_S3": f"http://127.0.0.1:{silent.getsockname()[1]}"}
        with sidecar("s3://models/x", local, free_ports(1)[0], **away) as process:
            connection, _ = silent.accept()
            with connection:
                assert connection.recv(3) == b"GET"
                process.terminate()
                process.wait(5)
    assert process.returncode == 0


@pytest.mark.integration
def test_a_directory_that_goes_away_and_comes_back_does_not_end_it(tmp_path, local, s3_server, environment):
    base, (port,) = s3_server.bucket_for(tmp_path), free_ports(1)
    source, second, moved = (tmp_path / each for each in ("source", "second", "moved"))
    open_store(base).publish("digits", 1, bundle_of(source, make_bundle(source)))
    with sidecar(base, local, port, **environment) as process:
        wait_until(lambda: asked(port, "/readyz")[0] == 200, lambda: f"{process.poll()}", timeout_s=60)
        local.rename(moved)
        local.touch()  # what is no directory cannot be written to
        failed = 'slipway_sync_turns_total{outcome="failed"}'
        wait_until(lambda: failed in asked(port, "/metrics")[1], lambda: f"{process.poll()}", timeout_s=60)
        local.unlink()
        moved.rename(local)
        open_store(base).publish("digits", 2, bundle_of(second, make_bundle(second)))
        wait_until(
            lambda: open_store(str(local)).versions("digits") == (1, 2), lambda: f"{process.poll()}", timeout_s=60
        )
