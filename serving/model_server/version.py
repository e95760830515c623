"""One version of a model, and the lease that keeps it loaded while a request uses it."""

import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from types import TracebackType
from typing import NamedTuple, Self

from serving.model_server.errors import ServingError
from serving.model_server.identity import Served
from serving.model_server.runtimes import Loaded, Runtime, Variant
from serving.model_server.source import VersionDirectory
from serving.model_server.tally import Tally
from serving.wire.get_model_status_pb2 import ModelVersionStatus
from serving.wire.status_pb2 import Code

State = ModelVersionStatus.State


@dataclass
class Version:
    """Guarded by its model's lock. `uses` counts the leases; what was loaded is there from AVAILABLE to UNLOADING.

    tally: what is observed of it from AVAILABLE on.
    """

    number: int
    directory: VersionDirectory
    state: State.ValueType = State.START
    failure: ServingError | None = None
    failures: int = 0
    failed_at: float = 0.0
    loaded: Loaded | None = None
    tally: Tally = field(default_factory=Tally)
    uses: int = 0
    label: str = ""  # as `label_of` has it
    owes: bool = False  # only requests that name its number reach it yet
    faults: list[ServingError] = field(default_factory=list)  # found since it is AVAILABLE

    def is_available(self) -> bool:
        """Whether requests may reach it."""
        return self.state == State.AVAILABLE

    @property
    def is_on_trial(self) -> bool:
        """Whether what it owes may yet be done."""
        return self.state == State.AVAILABLE and self.owes and not self.faults

    def fail(self, failure: ServingError, now: float) -> None:
        """The load ended in `failure`."""
        self.state, self.failure, self.failed_at = State.END, failure, now
        self.failures += 1

    def is_final(self, retries: int) -> bool:
        """Whether its failure is: what a check refused it would refuse again, other loads are tried `retries` times."""
        checked = self.failure is not None and self.failure.code == Code.DATA_LOSS
        return checked or self.failures > retries

    def status(self) -> ModelVersionStatus:
        """As GetModelStatus reports it."""
        status = ModelVersionStatus(version=self.number, state=self.state)
        status.status.error_code = Code.OK
        failure = self.failure or next(iter(self.faults), None)
        if failure is not None:
            status.status.error_code = failure.code
            status.status.error_message = failure.message
        return status


class Assigned(NamedTuple):
    """How a request that named neither version nor label may be shadowed.

    shadow: percent of such requests of which the canary is sent a copy. canary: a lease on it, None if there is none.
    """

    shadow: float
    canary: "Callable[[], Lease | None]"


@dataclass
class Lease:
    """The right to run a version until the `with` block ends; the version stays loaded so long.

    label: what the version bore when the lease was taken. assigned: set for a request that named neither version nor
    label. on_left: called at the end, with the error that the block ends by, if any.
    """

    model: str
    number: int
    runtime: Runtime
    variant: Variant
    _version: Version
    _changed: threading.Condition = field(repr=False)
    label: str = ""
    assigned: Assigned | None = None
    on_left: Callable[[BaseException | None], None] | None = None

    @classmethod
    def take(cls, model: str, version: Version, changed: threading.Condition) -> "Lease":
        """A lease on an AVAILABLE version; the caller holds its model's lock."""
        assert version.loaded is not None
        version.uses += 1
        loaded = version.loaded
        return cls(model, version.number, loaded.runtime, loaded.variant, version, changed, version.label)

    @property
    def tally(self) -> Tally:
        """What is observed of the version."""
        return self._version.tally

    @property
    def served(self) -> Served:
        """What answers say of it."""
        return Served(self.model, self.number, self.variant.name, self.tally.identity.digest, self.label)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with self._changed:
            self._version.uses -= 1
            if not self._version.uses and self._version.state == State.UNLOADING:
                self._changed.notify_all()
        if self.on_left is not None:
            self.on_left(error)
