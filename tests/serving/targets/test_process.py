"""Starting and ending servers, with a real process that has TensorFlow Serving's flags."""

import dataclasses
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from serving.client.credentials import CredentialsError
from serving.targets import open_target
from serving.targets.process import start
from slipway.errors import InputError, SlipwayError, UnavailableError

pytestmark = pytest.mark.usefixtures("binary")

FOREGROUND = """
import sys
from pathlib import Path
from serving.targets import ServeSpec, open_target
from serving.targets.process import run
base, rest, grpc, *extra = sys.argv[1:]
spec = ServeSpec("pets", Path(base), rest_port=int(rest), grpc_port=int(grpc), extra_args=tuple(extra))
target = open_target("tensorflow_model_server")
sys.exit(run(target, spec, announce=lambda addresses: print(f"ready {addresses}", flush=True), ready_timeout_s=30))
"""


@pytest.fixture
def target():
    return open_target("tensorflow_model_server")


def with_args(spec, *extra_args):
    return dataclasses.replace(spec, extra_args=extra_args)


def is_alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def eventually(condition, timeout_s=10.0) -> bool:
    deadline = time.monotonic() + timeout_s
    while not condition() and time.monotonic() < deadline:
        time.sleep(0.05)
    return condition()


def test_a_server_that_does_not_let_us_in_is_not_waited_for(target, spec, tmp_path):
    """It will not later either; the error says what is missing."""
    with (
        pytest.raises(CredentialsError, match=r"wants a token.*SLIPWAY_TOKEN.* Its log"),
        start(target, with_args(spec, "--denied"), log=tmp_path / "log", ready_timeout_s=200),
    ):
        pass


def test_a_started_server_is_ready_and_ends_with_the_block(target, spec, tmp_path):
    """Inside the block it answers, after it the process is gone, drained, and its port is free."""
    with start(target, spec, log=tmp_path / "log") as server:
        assert target.state(spec) == (True, "version 1 AVAILABLE still busy")
        assert server.addresses == target.addresses(spec)
        assert is_alive(server.pid)
    assert not is_alive(server.pid)
    assert (tmp_path / "log").read_text().endswith("drained\n")
    with socket.create_server(("127.0.0.1", spec.rest_port)):
        pass


def test_a_server_ends_with_a_block_that_fails(target, spec, tmp_path):
    """An exception inside the block leaves no process."""
    with pytest.raises(ZeroDivisionError), start(target, spec, log=tmp_path / "log") as server:
        raise ZeroDivisionError
    assert not is_alive(server.pid)


def test_what_the_server_started_ends_too(target, spec, tmp_path):
    """Ending reaches the whole process group."""
    with start(target, with_args(spec, "--child"), log=tmp_path / "log"):
        child = int(re.search(r"child (\d+)", (tmp_path / "log").read_text())[1])
        assert is_alive(child)
    assert eventually(lambda: not is_alive(child))


def test_a_server_that_ignores_sigterm_is_killed(target, spec, tmp_path, monkeypatch):
    """Draining has a bound."""
    monkeypatch.setattr("serving.targets.process._DRAIN_S", 0.5)
    with start(target, with_args(spec, "--stubborn"), log=tmp_path / "log") as server:
        pass
    assert not is_alive(server.pid)


@pytest.mark.parametrize("flag", ["--rest-port", "--grpc-port"])
def test_a_port_in_use_is_refused_with_the_flag_that_changes_it(flag, target, spec, tmp_path):
    """It is found before a process is started."""
    port = spec.rest_port if flag == "--rest-port" else spec.grpc_port
    with (
        socket.create_server(("127.0.0.1", port)),
        pytest.raises(InputError, match=rf"port {port} on 127\.0\.0\.1 is in use; .*another {flag}\."),
        start(target, spec, log=tmp_path / "log"),
    ):
        pytest.fail("the port is taken")


def test_a_host_of_another_machine_is_refused(target, spec, tmp_path):
    """An address that cannot be listened on is named."""
    elsewhere = dataclasses.replace(spec, host="192.0.2.1")
    with (
        pytest.raises(InputError, match=r"192\.0\.2\.1 cannot be listened on"),
        start(target, elsewhere, log=tmp_path / "log"),
    ):
        pytest.fail("no such interface")


def test_a_server_that_fails_says_why(target, spec, tmp_path):
    """The error has its exit code and the last line of its log."""
    with (
        pytest.raises(SlipwayError, match=r"exit code 1 before it answered.*ends with: --fail: it was asked to"),
        start(target, with_args(spec, "--fail"), log=tmp_path / "log"),
    ):
        pytest.fail("it never was ready")


def test_a_server_that_never_is_ready_is_given_up(target, spec, tmp_path):
    """The error names the state that it stayed in, and no process is left."""
    with (
        pytest.raises(UnavailableError, match=r"not ready after 1 s \(version 1 LOADING still busy\)"),
        start(target, with_args(spec, "--loading"), log=tmp_path / "log", ready_timeout_s=1),
    ):
        pytest.fail("it never was ready")
    with socket.create_server(("127.0.0.1", spec.rest_port)):
        pass


def foreground(spec, *extra: str, **options) -> subprocess.Popen:
    command = [sys.executable, "-c", FOREGROUND, str(spec.base), str(spec.rest_port), str(spec.grpc_port), *extra]
    return subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[3])},
        **options,
    )


def test_serving_in_the_foreground_prints_one_line_when_ready(target, spec):
    """Standard output holds what was announced; the server's own output goes to standard error."""
    process = foreground(spec)
    assert process.stdout.readline() == f"ready {target.addresses(spec)}\n"
    process.send_signal(signal.SIGTERM)
    output, errors = process.communicate(timeout=20)
    assert output == ""
    assert "argv" in errors


@pytest.mark.parametrize("signal_number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_a_signal_drains_the_server_and_ends_both_with_0(signal_number, spec):
    """Requests in flight finish before the command ends."""
    process = foreground(spec, "--drain_s=0.5")
    process.stdout.readline()
    process.send_signal(signal_number)
    _, errors = process.communicate(timeout=20)
    assert process.returncode == 0
    assert "drained" in errors
    assert "Traceback" not in errors


def test_a_second_signal_kills_at_once(spec):
    """Who presses Ctrl-C twice does not wait for the drain."""
    process = foreground(spec, "--drain_s=60")
    process.stdout.readline()
    started = time.monotonic()
    threading.Timer(1, process.send_signal, [signal.SIGINT]).start()
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=20)
    assert time.monotonic() - started < 15
    assert "drained" not in errors
    assert "Traceback" not in errors


def test_a_signal_before_it_is_ready_ends_it(spec):
    """Waiting for a slow start can be stopped."""
    process = foreground(spec, "--loading")
    assert eventually(lambda: is_listening(spec.rest_port))
    process.send_signal(signal.SIGTERM)
    process.communicate(timeout=20)
    assert process.returncode == 0
    assert not is_listening(spec.rest_port)


def is_listening(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux's kernel ends a child with its parent")
def test_a_killed_command_leaves_no_server(spec):
    """SIGKILL leaves us no chance; the kernel ends the server."""
    process = foreground(spec)
    process.stdout.readline()
    assert is_listening(spec.rest_port)
    process.kill()
    process.communicate(timeout=20)
    assert eventually(lambda: not is_listening(spec.rest_port))


def test_a_server_that_dies_gives_its_exit_code(spec):
    """A server that a signal ended gives 128 and the signal's number, as a shell does."""
    process = foreground(spec)
    process.stdout.readline()
    server = server_of(process.pid)
    os.kill(server, signal.SIGKILL)
    process.communicate(timeout=20)
    assert process.returncode == 128 + signal.SIGKILL


def server_of(parent: int) -> int:
    return int(Path(f"/proc/{parent}/task/{parent}/children").read_text().split()[0])
