"""How versions are loaded: by what, how often, how many at a time."""

import itertools
import logging
import time
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import NamedTuple

from serving.model_server.errors import ServingError, load_failure
from serving.model_server.identity import Identity, read_identity
from serving.model_server.runtimes import Loaded, LoadVersion, Owed
from serving.model_server.source import VersionDirectory
from serving.model_server.swaps import Swaps
from serving.model_server.version import Version
from serving.wire.status_pb2 import Code
from slipway.errors import IntegrityError

_PATIENCE_S = 1.0  # what deploys a version begins to ask it within this time
_LOOK_S = 0.05
_NO_LIMIT = nullcontext()
_LOG = logging.getLogger(__name__)


class Attempt(NamedTuple):
    """A load that has ended. owes: whether what it owes is still to be done. failure: None if it is loaded."""

    took_s: float
    loaded: Loaded | None = None
    identity: Identity = Identity()
    owes: bool = False
    failure: ServingError | None = None


@dataclass(frozen=True)
class LoadRules:
    """How every version is loaded."""

    load: LoadVersion
    platforms: Mapping[str, LoadVersion] = field(default_factory=dict)  # by model_platform, where `load` does not do
    retries: int = 5
    retry_interval_s: float = 60.0
    labels_may_wait: bool = False  # a new label may name a version that is not available yet
    on_available: Callable[[str, int], None] = lambda _name, _number: None
    on_loaded: Callable[[str, Path, Code.ValueType, float], None] = lambda _name, _path, _code, _took_s: None
    load_slots: AbstractContextManager[object] = _NO_LIMIT  # entered by what loads, or unloads, one version
    unload_slots: AbstractContextManager[object] = _NO_LIMIT
    clock: Callable[[], float] = time.monotonic
    swaps: Swaps = field(default_factory=Swaps)  # told what becomes of versions and labels
    admit: Callable[[str, Path], None] = lambda _name, _path: None  # raises for what may not be served as that model

    def may_load(self, ended: Version, directory: VersionDirectory) -> bool:
        """Whether a version that is at its END may be loaded, from that directory, now."""
        if ended.failure is None or ended.directory != directory:
            return True
        waited_s = self.clock() - ended.failed_at
        return not ended.is_final(self.retries) and waited_s >= self.retry_interval_s

    def attempt(self, model: str, platform: str, path: Path, may_owe: Callable[[], bool]) -> Attempt:
        """Load the version at `path`, and do what it owes unless that may wait; never raises."""
        with self.load_slots:
            started = self.clock()
            try:
                self.admit(model, path)
                loaded = self.platforms.get(platform, self.load)(path)
                owes = loaded.owed is not None and may_owe()
                if loaded.owed is not None and not owes:
                    _do_or_close(loaded, partial(loaded.owed, 0.0, lambda: True))
                attempt = Attempt(self.clock() - started, loaded, read_identity(path), owes)
            except Exception as error:  # noqa: BLE001  whatever a load raises is the version's failure, not the server's
                attempt = Attempt(self.clock() - started, failure=load_failure(error, path))
        self.on_loaded(model, path, attempt.failure.code if attempt.failure else Code.OK, attempt.took_s)
        return attempt

    def pay(self, owed: Owed, is_wanted: Callable[[], bool]) -> None:
        """Do what an AVAILABLE version owes, while it is wanted.

        What may pass, as a lack of memory, is tried again, `retries` times, after pauses that grow by a second up to
        `retry_interval_s`. Raises what the last try ended by.
        """
        for tries in itertools.count(1):
            try:
                owed(_PATIENCE_S, is_wanted)
            except IntegrityError:
                raise
            except Exception as error:
                if tries > self.retries:
                    owed(0.0, lambda: False)  # so that it keeps nothing to compare by
                    raise
                _LOG.warning("what a version owes is tried again: %s: %s", type(error).__name__, error)
            else:
                return
            pause_end = time.monotonic() + min(tries, self.retry_interval_s)
            while is_wanted() and time.monotonic() < pause_end:
                time.sleep(_LOOK_S)


def _do_or_close(loaded: Loaded, work: Callable[[], None]) -> None:
    try:
        work()
    except BaseException:
        loaded.runtime.close()
        raise
