"""Turn after turn, with what probes and Prometheus ask of it."""

import logging
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from socketserver import ThreadingMixIn
from typing import Any, NamedTuple
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer, make_server

from prometheus_client import CollectorRegistry, Counter, Gauge, generate_latest

from serving.stores import open_store
from serving.stores.local import local_path
from serving.sync.config_files import Places
from serving.sync.mirror import Mirror, Only, Turn
from slipway.errors import InputError, SlipwayError, UnavailableError
from slipway.statement import TrustedKeys, check_apart
from slipway.stopping import stopped_by_signals

_STALLED_S = 600.0  # longer than a server that does not answer is waited for
_LONGEST_INTERVAL_S = 86_400.0
_LOG = logging.getLogger(__name__)


class Address(NamedTuple):
    """Where it answers probes; port 0: nowhere."""

    host: str
    port: int


@dataclass
class Progress:
    """What probes and metrics tell."""

    registry: CollectorRegistry = field(default_factory=CollectorRegistry)
    ready: bool = False  # a whole turn has been made, or an earlier run's versions are there
    clock: Callable[[], float] = time.monotonic

    def __post_init__(self) -> None:
        own: dict[str, Any] = {"registry": self.registry, "namespace": "slipway_sync"}
        self._turns = Counter("turns", "Turns, by how they ended", ["outcome"], **own)
        self._fetched = Counter("fetched_versions", "Versions that were fetched", ["model"], **own)
        self._removed = Counter("removed_versions", "Versions that were removed", ["model"], **own)
        self._refused = Gauge("refused_versions", "Versions that are not what was sealed, or are not signed", **own)
        self._last = Gauge("last_success_timestamp_seconds", "When the last turn ended that reached everything", **own)
        self.moved()

    def moved(self) -> None:
        """A turn has ended, or goes on: a version was begun, or bytes have come."""
        self._moved_at = self.clock()

    @property
    def alive(self) -> bool:
        """Whether it has moved lately."""
        return self.clock() - self._moved_at < _STALLED_S

    def made(self, turn: Turn) -> None:
        """A turn has ended."""
        self.moved()
        self.ready = self.ready or not turn.left
        self._turns.labels("left" if turn.left or turn.refused else "whole").inc()
        for name, _ in turn.fetched:
            self._fetched.labels(name).inc()
        for name, _ in turn.removed:
            self._removed.labels(name).inc()
        self._refused.set(len(turn.refused))
        self._last.set_to_current_time()

    def failed(self) -> None:
        """A turn ended in an error."""
        self.moved()
        self._turns.labels("failed").inc()


def run(
    remote: str,
    local: str,
    only: Only,
    *,
    interval_s: float,
    address: Address,
    trusted_keys: str | None = None,
) -> int:
    """Mirror until told to stop, or once if `interval_s` is 0; returns the exit code.

    trusted_keys: directory of the keys by one of which each version must be signed.

    InputError for base paths, or keys, that cannot be, UnavailableError for a port that is taken; a server that is away
    is one only with `interval_s` 0.
    """
    logging.basicConfig(stream=sys.stderr, level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s")
    if "://" in local and not local.startswith("file://"):
        raise InputError(f"--to {local}: expected a directory. A model server reads no other place.")
    base = local_path(local)
    places = Places(remote.rstrip("/"), str(base))
    keys = None if trusted_keys is None else _checked(Path(trusted_keys), base, remote)
    here = open_store(str(base))
    mirror = Mirror(open_store(remote), here, places, only, trusted_keys=keys)
    mirror.put_out()
    progress = Progress(ready=bool(here.names()))
    if not interval_s:
        turn = mirror.turn()
        _say(turn)
        return 1 if turn.left or turn.refused else 0
    stop = threading.Event()
    # A turn may be stopped anywhere: a version is taken for complete only with its last file.
    with suppress(KeyboardInterrupt), stopped_by_signals(stop, interrupt=True), _answering(address, progress):
        while not stop.is_set():
            try:
                turn = mirror.turn(progress.moved)
            except Exception as error:  # noqa: BLE001 - whatever it is, the next turn may do better
                progress.failed()
                foreseen = isinstance(error, SlipwayError)
                _LOG.error("%s What is here stays.", error if foreseen else f"{type(error).__name__}: {error}.")
            else:
                progress.made(turn)
                _say(turn)
            stop.wait(interval_s)
    return 0


def check_interval(interval_s: float) -> None:
    """InputError for a time that turns cannot be apart."""
    if not 0 < interval_s <= _LONGEST_INTERVAL_S:
        raise InputError(
            f"--interval is {interval_s:g}; expected more than 0 and at most {_LONGEST_INTERVAL_S:.0f} seconds. Change "
            "it, or pass --once."
        )


def _checked(trusted_keys: Path, base: Path, remote: str) -> Path:
    """The directory, which can be read, and lies in neither base path."""
    TrustedKeys(trusted_keys)
    check_apart(trusted_keys, base)
    if "://" not in remote or remote.startswith("file://"):
        check_apart(trusted_keys, local_path(remote))
    return trusted_keys.absolute()


def _say(turn: Turn) -> None:
    for name, version in turn.fetched:
        _LOG.info("fetched %s version %d", name, version)
    for name, version in turn.removed:
        _LOG.info("removed %s version %d", name, version)
    for text in turn.left:
        _LOG.warning("%s", text)


@contextmanager
def _answering(address: Address, progress: Progress) -> Iterator[None]:
    if not address.port:
        yield
        return

    def answer(environment: dict[str, Any], start: Any) -> list[bytes]:
        alive = progress.alive
        text, good = {
            "/livez": ("alive" if alive else "nothing has moved for long", alive),
            "/readyz": ("ready" if progress.ready else "not everything is here yet", progress.ready),
            "/metrics": (generate_latest(progress.registry).decode(), True),
        }.get(environment["PATH_INFO"], ("not found", None))
        status = "404 Not Found" if good is None else "200 OK" if good else "503 Service Unavailable"
        start(status, [("Content-Type", "text/plain; version=0.0.4; charset=utf-8")])
        return [text.encode()]

    try:
        server = make_server(address.host, address.port, answer, _Server, _Quiet)
    except OSError as error:
        raise UnavailableError(
            f"{address.host}:{address.port}: {error.strerror}; expected a free port. Pass another --port, or 0."
        ) from error
    thread = threading.Thread(target=server.serve_forever, name="probes", daemon=True)
    thread.start()
    try:
        yield
    finally:
        server.shutdown()
        server.server_close()


class _Server(ThreadingMixIn, WSGIServer):
    """One thread a connection: who says nothing on his keeps nobody else waiting."""

    daemon_threads = True

    def handle_error(self, request: Any, client_address: Any) -> None:
        pass


class _Quiet(WSGIRequestHandler):
    timeout = 10.0  # seconds that a client may say nothing

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002  its name in the standard library
        pass
