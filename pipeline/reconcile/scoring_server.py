"""The target that cannot reload: `mlflow models serve` is started anew, on the same port, for each version."""

import socket
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from pipeline.reconcile.scored_version import ScoredVersion, last_error
from pipeline.reconcile.serving import RefusedError, ServerReport, Verified, Waiting
from registry.client import ModelVersion, Registry
from serving.client.server_status import VersionState
from serving.model_config import STABLE
from serving.targets import reachable
from slipway.errors import IntegrityError, SlipwayError, UnavailableError

_START_S = 300.0
_AVAILABLE = VersionState("AVAILABLE", "")

Fetch = Callable[[Registry, ModelVersion, Path], Path]


@dataclass(frozen=True)
class ScoringAddress:
    """Which model is served, where, and the file that the servers' output is appended to."""

    name: str
    host: str
    port: int
    log: Path

    @property
    def url(self) -> str:
        return f"http://{reachable(self.host)}:{self.port}"


class ScoringServer:
    """Serves one version at a time of one model, with MLflow's own scoring server. See Serving.

    A version is asked its golden requests on a free port of this machine first; whatever is served stays as it is until
    that has gone well. Changing over then ends one server and starts the other: nothing answers meanwhile, and `say`
    tells how long. Use it in one thread, and close it: its servers end with that thread on Linux.
    """

    def __init__(self, address: ScoringAddress, registry: Registry, fetch: Fetch, say: Callable[[str], None]) -> None:
        self._address = address
        self._registry = registry
        self._fetch = fetch
        self._say = say
        self._live: ScoredVersion | None = None
        self._candidate: ScoredVersion | None = None

    def keep_serving(self, version: int | None) -> None:
        """Serve the version that is live by the config files, if another or none is served; None: serve nothing.

        For the start, for a server that ended by itself, and for what another command has made live. Where another
        version is served, that stays until this one has answered its golden requests. SlipwayError if it cannot be.
        """
        live = self._live
        if version is None:
            self._end_live()
        elif live is None or not live.runs():
            if live is None or live.version != version:
                live = self._fetched(self._registry.version(self._address.name, version))
            self._change_over(live, _START_S)
        elif live.version != version:
            wanted = self._registry.version(self._address.name, version)
            waiting = Waiting(_START_S, _always_wanted)
            self.await_loaded(wanted, waiting)
            self.verify(wanted)
            self.await_live(wanted, waiting)

    def report(self, name: str) -> tuple[ServerReport, ...]:
        """See Serving."""
        if name != self._address.name:
            return (ServerReport(self._address.url, left_out=f"it serves {self._address.name} alone"),)
        if self._live is None or not self._live.runs():
            return (ServerReport(self._address.url),)
        live = self._live.version
        return (ServerReport(self._address.url, {live: _AVAILABLE}, labels={STABLE: live}),)

    def await_loaded(self, version: ModelVersion, waiting: Waiting) -> None:
        """See Serving. It is loaded by a server of its own, on a free port."""
        if self._candidate is not None:
            self._candidate.close()
        self._candidate = None
        try:
            candidate = self._fetched(version)
        except IntegrityError as error:
            raise RefusedError(str(error)) from error
        log = self._address.log.with_suffix(".candidate.log")
        log.unlink(missing_ok=True)
        try:
            candidate.start("127.0.0.1", _free_port(), log, waiting.timeout_s)
        except SlipwayError as error:
            candidate.close()
            raise RefusedError(
                f"`mlflow models serve` does not start with it: {last_error(log) or error} (log: {log})"
            ) from error
        self._candidate = candidate

    def verify(self, version: ModelVersion) -> Verified:
        """See Serving. Its server ends afterwards: until it is live, a version takes no memory."""
        served = next(
            (each for each in (self._candidate, self._live) if each and each.version == version.version), None
        )
        if served is None or served.url is None:
            raise UnavailableError(
                f"{version.name} version {version.version} is not loaded. Run `slipway reconcile` again."
            )
        began = time.monotonic()
        try:
            golden = served.ask_golden()
        except UnavailableError:
            raise
        except SlipwayError as error:
            raise RefusedError(str(error)) from error
        finally:
            if served is self._candidate:
                served.stop()
        if not golden.passed:
            raise RefusedError(f"its golden answers differ on `mlflow models serve`: {golden.summary()}")
        return Verified(golden, (self._address.url,), time.monotonic() - began)

    def await_live(self, version: ModelVersion, waiting: Waiting) -> None:
        """See Serving."""
        live, candidate = self._live, self._candidate
        if live is not None and live.version == version.version and live.runs():
            return
        if candidate is None or candidate.version != version.version:
            candidate = self._fetched(version)
        else:
            self._candidate = None
        self._change_over(candidate, waiting.timeout_s)

    def close(self) -> None:
        """End every server, once the requests in flight are answered."""
        for served in (self._candidate, self._live):
            if served is not None:
                served.close()
        self._candidate = self._live = None

    def _fetched(self, version: ModelVersion) -> "ScoredVersion":
        return ScoredVersion(version, lambda into: self._fetch(self._registry, version, into))

    def _change_over(self, to: "ScoredVersion", timeout_s: float) -> None:
        """End what is served and serve `to`; what was served is started again if that fails."""
        before, address = self._live, self._address
        to.stop()
        began = time.monotonic()
        if before is not None:
            before.stop()
        try:
            to.start(address.host, address.port, address.log, timeout_s)
        except SlipwayError:
            if before is not to:
                to.close()
            if before is not None:
                before.start(address.host, address.port, address.log, timeout_s)
            raise
        self._live = to
        took_s = time.monotonic() - began
        if before is None:
            self._say(f"{address.name}: version {to.version} is served at {address.url}, started in {took_s:.1f} s")
            return
        if before is not to:
            before.close()
        self._say(
            f"{address.name}: version {to.version} is served at {address.url} in place of version {before.version}; "
            f"nothing answered for {took_s:.1f} s"
        )

    def _end_live(self) -> None:
        if self._live is not None:
            self._live.close()
            self._say(f"{self._address.name}: no version is served at {self._address.url} any more")
        self._live = None


def _always_wanted() -> None:
    pass


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port: int = listener.getsockname()[1]
        return port
