"""What a server saw of each version of a model, as `GET /v1/models/NAME/observations` answers it."""

from bisect import bisect_left
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from itertools import accumulate
from typing import Any

from slipway.errors import InputError

# In milliseconds, 5 % apart: 0.05 ms to 100 s.
LATENCY_BOUNDS_MS = tuple(round(0.05 * 1.05**power, 6) for power in range(299))


@dataclass(frozen=True)
class Latencies:
    """counts: how many were at most each of `bounds` (rising, in milliseconds) and above the one before.

    One more count than bounds: the last is of those above the last bound.
    """

    bounds: tuple[float, ...] = LATENCY_BOUNDS_MS
    counts: tuple[int, ...] = (0,) * (len(LATENCY_BOUNDS_MS) + 1)

    def quantile(self, share: float) -> float | None:
        """The bound below which that share (0 to 1) of the values lie, at most 5 % too high; None without values.

        The last bound for values above it.
        """
        sums = list(accumulate(self.counts))
        if not sums[-1]:
            return None
        return self.bounds[min(bisect_left(sums, share * sums[-1]), len(self.bounds) - 1)]


@dataclass(frozen=True)
class Moments:
    """Of values whose mean and variance are wanted."""

    count: int = 0
    sum: float = 0.0
    sum_squares: float = 0.0


@dataclass(frozen=True)
class ShadowObservations:
    """Of copies that a version ran beside another one's answers.

    compared: of how many the first classes were compared with the answer's; disagreed: of how many they differ.
    labelled, correct: images with a true label, and those of them whose first class is that label.
    dropped: copies that were not run, since the server had no time for them.
    latency_ms: as that of a version's own requests.
    """

    requests: int = 0
    errors: int = 0
    compared: int = 0
    disagreed: int = 0
    labelled: int = 0
    correct: int = 0
    dropped: int = 0
    latency_ms: Latencies = field(default_factory=Latencies)


@dataclass(frozen=True)
class VersionObservations:
    """Of one version since it became AVAILABLE, over the requests that named neither version nor label.

    label: the one it bears now, "" if none. requests: those that it ran; errors: of them, those that it failed.
    latency_ms: of those it did not fail, its own run time: waiting and decoding of images inside the runtime are
    included, decoding and encoding of messages are not.
    confidence: of each answer's largest probability, the mean of its rows'.
    labelled, correct: images with a true label, and those of them whose first class is that label.
    """

    version: int
    label: str = ""
    requests: int = 0
    errors: int = 0
    latency_ms: Latencies = field(default_factory=Latencies)
    confidence: Moments = field(default_factory=Moments)
    labelled: int = 0
    correct: int = 0
    shadow: ShadowObservations = field(default_factory=ShadowObservations)


@dataclass(frozen=True)
class Observations:
    """server: a random id of the process; another one means that the counts began anew."""

    server: str
    model: str
    versions: tuple[VersionObservations, ...]

    def of(self, label: str) -> VersionObservations | None:
        """The version that bears `label`; None if none does."""
        return next((version for version in self.versions if version.label == label), None)

    def as_dict(self) -> dict[str, Any]:
        """The document that `parse_observations` reads."""
        return asdict(self)


def parse_observations(document: Any, place: str) -> Observations:
    """Read a server's answer; InputError names `place` and what is missing or wrong. Further members are ignored."""
    try:
        versions = tuple(_version(entry) for entry in document["versions"])
        return Observations(_text(document["server"]), _text(document["model"]), versions)
    except (KeyError, TypeError, ValueError) as error:
        reason = f"{error} is missing" if isinstance(error, KeyError) else str(error)
        raise InputError(
            f"{place}: not a server's observations ({reason}); expected what the embedded model server answers. "
            "Ask that server, of this version of Slipway."
        ) from error


def _version(entry: Mapping[str, Any]) -> VersionObservations:
    confidence, shadow = entry["confidence"], entry["shadow"]
    return VersionObservations(
        **_counts(entry, ("version", "requests", "errors", "labelled", "correct")),
        label=_text(entry["label"]),
        latency_ms=_latencies(entry["latency_ms"]),
        confidence=Moments(
            **_counts(confidence, ("count",)),
            sum=float(confidence["sum"]),
            sum_squares=float(confidence["sum_squares"]),
        ),
        shadow=ShadowObservations(
            **_counts(shadow, ("requests", "errors", "compared", "disagreed", "labelled", "correct", "dropped")),
            latency_ms=_latencies(shadow["latency_ms"]),
        ),
    )


def _latencies(entry: Mapping[str, Any]) -> Latencies:
    bounds = tuple(float(bound) for bound in entry["bounds"])
    counts = tuple(_count(count) for count in entry["counts"])
    if len(counts) != len(bounds) + 1 or list(bounds) != sorted(bounds):
        raise ValueError(f"{len(counts)} counts for {len(bounds)} bounds")
    return Latencies(bounds, counts)


def _counts(entry: Mapping[str, Any], names: tuple[str, ...]) -> dict[str, Any]:
    return {name: _count(entry[name]) for name in names}


def _count(value: Any) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or value < 0:
        raise ValueError(f"{value!r:.40} where a count is expected")
    return value


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise TypeError(f"{value!r:.40} where text is expected")
    return value
