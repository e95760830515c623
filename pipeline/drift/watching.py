"""Checks one after another, by one watcher of a model, or of all that are served, at a time."""

import contextlib
import dataclasses
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
from registry.ledger import CHAMPION
from slipway.errors import SlipwayError, UnavailableError

_LEASE_S = 30.0


class DriftTurn:
    """See pipeline.reconcile.watch.Turn: a check each turn, under a lease of the model's."""

    def __init__(self, config: Config) -> None:
        self._config = config

    @contextlib.contextmanager
    def lead(self) -> Iterator[Callable[[], None]]:
        """See Turn."""
        with _led(f"drift {self._config.name}") as check_lease:
            yield check_lease

    def one_pass(self) -> Outcome:
        """See Turn."""
        return Outcome(check(self._config).summary())


class ServedDriftTurn:
    """See Turn: in each turn a check of every model that is served and has a champion, as reconcile knows them.

    A model that cannot be checked keeps no other one from it, and is tried again in the next turn.
    """

    def __init__(self, config: Config) -> None:
        self._config = config

    @contextlib.contextmanager
    def lead(self) -> Iterator[Callable[[], None]]:
        """See Turn."""
        with _led("drift of served models") as check_lease:
            yield check_lease

    def one_pass(self) -> Outcome:
        """See Turn."""
        also = {self._config.name, *self._config.reconcile.model_names}
        served = [each.name for each in Registry().served_models(also) if CHAMPION in each.aliases]
        return Outcome("; ".join(map(self._checked, served)) or "no served model has a champion")

    def _checked(self, name: str) -> str:
        try:
            return check(dataclasses.replace(self._config, name=name)).summary()
        except UnavailableError:  # the others' checks would fail as well
            raise
        except Exception as error:  # noqa: BLE001 - whatever it is, it is of that model
            kind = "" if isinstance(error, SlipwayError) else f"unforeseen {type(error).__name__}: "
            return f"{name}: not checked: {kind}{' '.join(str(error).split())}"


def watch_traffic(config: Config, stop: threading.Event, *, served: bool = False) -> None:
    """Check each `drift.check_interval_s` until `stop` is set; what is new goes to standard error, with its time.

    served: every model that is served, rather than the configuration's alone.
    """
    turn = ServedDriftTurn(config) if served else DriftTurn(config)
    with contextlib.suppress(KeyboardInterrupt):
        watch(turn, config.drift.check_interval_s, threading.Event(), stop, _say)
    _say("stopped")


@contextlib.contextmanager
def _led(key: str) -> Iterator[Callable[[], None]]:
    ledger = open_ledger(Registry())
    try:
        with renewed_lease(ledger, key, _LEASE_S) as held:
            yield held.check
    finally:
        ledger.engine.dispose()


def _say(text: str) -> None:
    report(f"{datetime.now(UTC):%Y-%m-%d %H:%M:%S} {text}")
