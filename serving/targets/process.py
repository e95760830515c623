"""Start any target's server, wait until it answers, and end it with everything that it started."""

import errno
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import NoReturn
from urllib.parse import urlsplit

from serving.client.credentials import CredentialsError
from serving.targets import Addresses, Command, ServeSpec, Target, leash
from slipway.errors import InputError, SlipwayError, UnavailableError

_STDERR = 2
_POLL_S = 0.2
_DRAIN_S = 40.0  # a server finishes the requests in flight on SIGTERM; the embedded one gives up after 30 s
_STRAGGLERS_S = 5.0
_SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)


@dataclass(frozen=True)
class Running:
    """A server that is ready. log: the file that holds its output."""

    addresses: Addresses
    pid: int
    log: Path


class _Stopped(BaseException):
    """A signal asked us to end; raised where the main thread stands, so that every `finally` runs."""


def run(
    target: Target, spec: ServeSpec, *, announce: Callable[[Addresses], None], ready_timeout_s: float = 300.0
) -> int:
    """Serve in the foreground until the server ends, or SIGTERM, SIGINT or SIGHUP ends both; return an exit code.

    The server's output goes to standard error. `announce` is called once, when it answers predictions. The code is the
    server's own, or 0 after a signal: the server has then finished its requests. A second signal kills it at once.
    Main thread only. Raises as `start`.
    """
    with _signals_raise():
        try:
            with _process(target.command(spec), target.addresses(spec), spec.host, _STDERR) as process:
                _wait_until_ready(target, spec, process, ready_timeout_s)
                announce(target.addresses(spec))
                code = process.wait()
        except _Stopped:
            return 0
    return code if code >= 0 else 128 - code


@contextmanager
def start(target: Target, spec: ServeSpec, *, log: Path, ready_timeout_s: float = 300.0) -> Iterator[Running]:
    """Serve in the background for the length of a `with` block; its output is appended to `log`.

    The server ends with the block, and also if this process dies, or (on Linux) the thread that called.
    Raises InputError (a port in use, a missing program or configuration), SlipwayError (it ended by itself),
    UnavailableError (it does not answer within `ready_timeout_s`).
    """
    with (
        log.open("ab") as output,
        _process(target.command(spec), target.addresses(spec), spec.host, output.fileno()) as process,
    ):
        try:
            _wait_until_ready(target, spec, process, ready_timeout_s)
        except SlipwayError as error:
            raise type(error)(f"{error} Its log, {log}, ends with: {_last_line(log)}") from error
        yield Running(target.addresses(spec), process.pid, log)


@contextmanager
def _process(command: Command, addresses: Addresses, host: str, output: int) -> Iterator[subprocess.Popen[bytes]]:
    check_ports_free(addresses, host)
    process = subprocess.Popen(
        [sys.executable, "-I", "-S", leash.__file__, str(os.getpid()), *command.argv],
        env={**os.environ, **command.environment},
        stdin=subprocess.DEVNULL,
        stdout=output,
        stderr=output,
        process_group=0,  # so that Ctrl-C reaches only us, and ending it ends what it started
    )
    try:
        yield process
    finally:
        _end(process)


def _end(process: subprocess.Popen[bytes]) -> None:
    """End the process and its group: ask, wait for the requests in flight, then kill. A second signal kills at once."""
    try:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGTERM)
            process.wait(_DRAIN_S)
        _signal_group(process.pid, signal.SIGTERM)
        deadline = time.monotonic() + _STRAGGLERS_S
        while _signal_group(process.pid, 0) and time.monotonic() < deadline:
            time.sleep(_POLL_S / 4)
    except (subprocess.TimeoutExpired, _Stopped):
        pass
    finally:
        _signal_group(process.pid, signal.SIGKILL)
        process.wait()


def _signal_group(group: int, signal_number: int) -> bool:
    """Signal what is left of the group; whether there was anything."""
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(group, signal_number)
        return True
    return False


def _wait_until_ready(target: Target, spec: ServeSpec, process: subprocess.Popen[bytes], timeout_s: float) -> None:
    deadline = time.monotonic() + timeout_s
    words = "nothing answered"
    while time.monotonic() < deadline:
        try:
            ready, words = target.state(spec)
        except CredentialsError:
            raise  # it answers, and will not let us in later either
        except UnavailableError as error:
            ready, words = False, str(error)
        if ready:
            return
        with suppress(subprocess.TimeoutExpired):
            code = process.wait(_POLL_S)
            raise SlipwayError(
                f"the server ended with exit code {code} before it answered; expected it to serve {spec.name!r} on "
                f"{target.addresses(spec)}. Mend what its output says and start it again."
            )
    raise UnavailableError(
        f"the server on {target.addresses(spec)} is not ready after {timeout_s:g} s ({words.rstrip('.')}); expected a "
        f"version of {spec.name!r} to answer. Look at its output, or allow it more time."
    )


def check_ports_free(addresses: Addresses, host: str) -> None:
    """InputError if something listens on a port of `addresses` on `host`."""
    for flag, address in (("--rest-port", addresses.rest), ("--grpc-port", addresses.grpc)):
        port = urlsplit(address).port
        if port is not None:
            check_port_free(flag, host, port)


def check_port_free(flag: str, host: str, port: int) -> None:
    """InputError, for the flag that named it, if something listens on that port."""
    try:
        with socket.create_server((host, port), family=socket.AF_INET6 if ":" in host else socket.AF_INET):
            pass
    except OSError as error:
        reason = "is in use" if error.errno == errno.EADDRINUSE else f"cannot be listened on ({error.strerror})"
        raise InputError(
            f"port {port} on {host} {reason}; expected a free one. End what listens there, or pass another {flag}."
        ) from error


def _last_line(log: Path) -> str:
    lines = log.read_text(errors="replace").split("\n")
    return next((line.strip() for line in reversed(lines) if line.strip()), "(nothing)")


@contextmanager
def _signals_raise() -> Iterator[None]:
    def stop(_number: int, _frame: FrameType | None) -> NoReturn:
        raise _Stopped

    before = {number: signal.signal(number, stop) for number in _SIGNALS}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
