"""Checks one after another, by one watcher of a model at a time."""

import contextlib
import threading
from collections.abc import Callable, Iterator
from datetime import UTC, datetime

from pipeline.config import Config
from pipeline.drift.checking import check
from pipeline.progress import report
from pipeline.promotion import open_ledger
from pipeline.reconcile.watch import Outcome, watch
from registry.client import Registry
from registry.lease import renewed_lease

_LEASE_S = 30.0


class DriftTurn:
    """See pipeline.reconcile.watch.Turn: a check each turn, under a lease of the model's."""

    def __init__(self, config: Config) -> None:
        self._config = config

    @contextlib.contextmanager
    def lead(self) -> Iterator[Callable[[], None]]:
        """See Turn."""
        ledger = open_ledger(Registry())
        try:
            with renewed_lease(ledger, f"drift {self._config.name}", _LEASE_S) as held:
                yield held.check
        finally:
            ledger.engine.dispose()

    def one_pass(self) -> Outcome:
        """See Turn."""
        return Outcome(check(self._config).summary())


def watch_traffic(config: Config, stop: threading.Event) -> None:
    """Check each `drift.check_interval_s` until `stop` is set; what is new goes to standard error, with its time."""
    with contextlib.suppress(KeyboardInterrupt):
        watch(DriftTurn(config), config.drift.check_interval_s, threading.Event(), stop, _say)
    _say("stopped")


def _say(text: str) -> None:
    report(f"{datetime.now(UTC):%Y-%m-%d %H:%M:%S} {text}")
