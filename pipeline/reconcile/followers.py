"""The servers that follow the config files in the base path: what they hold, and waiting until they hold it."""

import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from pipeline.reconcile.serving import RefusedError, ServerReport, Verified, Waiting
from pipeline.verify import verify_alone, verify_at
from registry.client import ModelVersion
from serving.client.server_status import RefusedConnectionError, ServerStatus, VersionState
from serving.model_config import CANARY, STABLE, canary_name
from serving.stores import Store
from slipway.errors import NotFoundError, UnavailableError

_STATUS_S = 5.0
_STALE_S = 3.0  # a failure that was there before we asked for the version may be an old one for this long
_AGAIN_S = 0.1
_NOBODY = "nothing listens there"


@dataclass(frozen=True)
class Place:
    """The store that versions lie in, and where the output of a server goes that is started for one alone.

    picture: an image that a version is asked about besides its golden requests.
    """

    store: Store
    log: Path
    picture: Path | None = None


class Followers:
    """See Serving. A server that refuses connections serves nobody and is left out; so is one of another base path."""

    def __init__(self, addresses: Sequence[str], place: Place, say: Callable[[str], None] = lambda _text: None) -> None:
        self._servers = tuple(ServerStatus(address, _STATUS_S) for address in addresses)
        self._place = place
        self._say = say

    def close(self) -> None:
        """Let go of all connections."""
        for server in self._servers:
            server.close()

    def report(self, name: str) -> tuple[ServerReport, ...]:
        """See Serving."""
        return tuple(_report(server, name) for server in self._servers)

    def await_loaded(self, version: ModelVersion, waiting: Waiting) -> None:
        """See Serving."""
        first = self.report(version.name)
        failed_before = {each.address: _failure(each, version.version) for each in first}
        there = {each.address for each in first if not each.left_out}
        reports = first
        while True:
            open_ = [each for each in self._counted(reports, there, waiting) if not _has(each, version.version)]
            for each in open_:
                failure = _failure(each, version.version)
                if failure and (failure != failed_before.get(each.address) or waiting.waited_s > _STALE_S):
                    raise RefusedError(f"{each.address} cannot load it: {failure}")
            if not open_:
                return
            if not waiting.pause():
                states = ", ".join(f"{each.address} has it {_words(each, version.version)}" for each in open_)
                raise RefusedError(f"not AVAILABLE within {waiting.timeout_s:g} s: {states}")
            reports = self.report(version.name)

    def verify(self, version: ModelVersion) -> Verified:
        """See Serving. Where no server has it, one is started for it alone."""
        name, place = version.name, self._place
        reports = [(server, _report(server, name)) for server in self._servers]
        there = [each for each in reports if _has(each[1], version.version)]
        if not there:
            self._say(f"no server has {name} version {version.version}: starting one to ask its golden requests")
            return verify_alone(version, place.store, place.log, place.picture)
        # All at once: a server that is not asked for a while asks itself.
        with ThreadPoolExecutor(len(there), "golden") as pool:
            asked = list(pool.map(lambda each: self._verify_on(each[0], each[1], version), there))
        worst = max(asked, key=lambda each: each.golden.largest_difference)
        return Verified(
            worst.golden,
            tuple(address for each in asked for address in each.addresses),
            sum(each.took_s for each in asked),
            next((each.prediction for each in asked if each.prediction is not None), None),
        )

    def _verify_on(self, server: ServerStatus, report: ServerReport, version: ModelVersion) -> Verified:
        """Ask the server that reported; again if it had the version of older config files, and lets go of it first."""
        until = time.monotonic() + _STALE_S
        while True:
            try:
                return self._verify_at(report, version)
            except NotFoundError:
                if time.monotonic() > until:
                    raise
            time.sleep(_AGAIN_S)
            report = _report(server, version.name)

    def _verify_at(self, report: ServerReport, version: ModelVersion) -> Verified:
        own, state = report.versions.get(version.version), report.state(version.version)
        listed_as = version.name if own is not None and own.is_available else canary_name(version.name)
        if state is not None and state.error:
            raise RefusedError(f"{report.address} has it with a fault: {state.error}")
        return verify_at(report.address, version, self._place.store, listed_as, self._place.picture)

    def await_live(self, version: ModelVersion, waiting: Waiting) -> None:
        """See Serving."""
        while True:
            reports = self._counted(self.report(version.name), set(), waiting)
            open_ = [each for each in reports if not _serves(each, version.version)]
            if not open_:
                return
            if not waiting.pause():
                states = ", ".join(
                    f"{each.address} answers from {each.live or 'nothing'} and has it {_words(each, version.version)}"
                    for each in open_
                )
                raise UnavailableError(
                    f"version {version.version} is live by the config files, and not on every server after "
                    f"{waiting.timeout_s:g} s: {states}. Look at the servers' logs."
                )

    def _counted(self, reports: Sequence[ServerReport], there: set[str], waiting: Waiting) -> Iterator[ServerReport]:
        """The servers to wait for: those that answer, and list the model or have time left to."""
        for each in reports:
            if each.left_out:
                if each.address in there:
                    raise RefusedError(f"{each.address} ended while it was to load it")
            elif each.versions or each.candidates or waiting.waited_s < waiting.patience_s:
                yield each


def _report(server: ServerStatus, name: str) -> ServerReport:
    try:
        versions = server.versions(name)
        labels = {STABLE: server.labelled(name, STABLE)} if versions else {}
        if sum(each.is_available for each in versions.values()) > 1:
            labels[CANARY] = server.labelled(name, CANARY)
        # A server that knows labels has candidates beside the rest, but for those of a model without a champion.
        candidates = server.versions(canary_name(name)) if labels.get(STABLE) is None else {}
    except RefusedConnectionError:
        return ServerReport(server.address, left_out=_NOBODY)
    known = {label: number for label, number in labels.items() if number is not None}
    return ServerReport(server.address, versions, candidates, known)


def _has(report: ServerReport, version: int) -> bool:
    state = report.state(version)
    return not report.left_out and state is not None and state.is_available


def _serves(report: ServerReport, version: int) -> bool:
    own = report.versions.get(version)
    return own is not None and own.is_available and report.live == version


def _failure(report: ServerReport, version: int) -> str:
    """Why the server has given up loading the version; "" if it has not."""
    state: VersionState | None = report.state(version)
    return state.error if state is not None and state.state == "END" else ""


def _words(report: ServerReport, version: int) -> str:
    state = report.state(version)
    return "not listed" if state is None else f"{state.state} {state.error}".strip()
