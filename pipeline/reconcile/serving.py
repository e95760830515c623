"""What reconcile needs of whatever serves, behind a Protocol of four methods."""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

from registry.client import ModelVersion
from serving.client.server_status import VersionState
from serving.model_config import STABLE
from slipway.errors import ConflictError, SlipwayError

if TYPE_CHECKING:
    from serving.client import Prediction
    from serving.servable.golden import GoldenReport

_CHECK_S = 2.0
_SHORTEST_POLL_S, _LONGEST_POLL_S = 0.02, 0.1
_POLL_OF_WAITED = 0.1  # what takes long is looked at less often


class RefusedError(SlipwayError):
    """A version may not go live. The text says why, to a person who reads it in the MLflow UI."""

    exit_code = 3


class MovedOnError(ConflictError):
    """What was planned is no longer what the registry wants, or no longer what is there: plan anew."""


@dataclass(frozen=True)
class ServerReport:
    """What one server says of one model. left_out: why it does not count; "" if it does."""

    address: str
    versions: Mapping[int, VersionState] = field(default_factory=dict)
    candidates: Mapping[int, VersionState] = field(default_factory=dict)  # of `<name>-canary`
    labels: Mapping[str, int] = field(default_factory=dict)
    left_out: str = ""

    @property
    def lists_it(self) -> bool:
        """Whether the server counts, and lists the model."""
        return not self.left_out and bool(self.versions or self.candidates)

    @property
    def live(self) -> int | None:
        """The version that answers requests which name none: the label `stable`'s, or else the highest AVAILABLE."""
        if STABLE in self.labels:
            return self.labels[STABLE]
        return max((number for number, each in self.versions.items() if each.is_available), default=None)

    def state(self, version: int) -> VersionState | None:
        """The version's state, under the model's name or as a candidate; None if the server does not list it."""
        found = [each[version] for each in (self.versions, self.candidates) if version in each]
        return next((each for each in found if each.is_available), found[0] if found else None)


@dataclass(frozen=True)
class Verified:
    """A version that has answered its golden requests. golden: the report with the largest difference."""

    golden: "GoldenReport"
    addresses: tuple[str, ...]  # of the servers that were asked
    took_s: float
    prediction: "Prediction | None" = None  # of the picture that was asked about besides


@dataclass
class Waiting:
    """How long to wait, and what to look at meanwhile.

    still_wanted: raises MovedOnError when what is waited for is no longer wanted; asked every two seconds.
    patience_s: how long a server may take to list a model that it has never listed.
    """

    timeout_s: float
    still_wanted: Callable[[], None]
    patience_s: float = 0.0
    _began: float = field(default_factory=time.monotonic)
    _checked: float = field(default_factory=time.monotonic)

    @property
    def waited_s(self) -> float:
        return time.monotonic() - self._began

    def pause(self) -> bool:
        """Wait for a moment; False when the time is up."""
        if time.monotonic() - self._checked >= _CHECK_S:
            self.still_wanted()
            self._checked = time.monotonic()
        time.sleep(min(_LONGEST_POLL_S, max(_SHORTEST_POLL_S, _POLL_OF_WAITED * self.waited_s)))
        return self.waited_s < self.timeout_s


class Serving(Protocol):
    """One or more servers of the models below one base path, whose config files name what they are to load.

    Every method raises UnavailableError for a server that is there and does not answer: then nothing moves.
    """

    def report(self, name: str) -> tuple[ServerReport, ...]:
        """What each server says of a model now."""
        ...

    def await_loaded(self, version: ModelVersion, waiting: Waiting) -> None:
        """Wait until the version, which the config files list, can be asked by its number, beside what is live.

        RefusedError if a server says that it cannot load it, or does not within the time.
        """
        ...

    def verify(self, version: ModelVersion) -> Verified:
        """Ask the version its golden requests, by its number, wherever it will serve; RefusedError if one differs."""
        ...

    def await_live(self, version: ModelVersion, waiting: Waiting) -> None:
        """Wait until each server answers from the version, which the config files have live; UnavailableError."""
        ...
