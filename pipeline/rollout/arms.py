"""What the servers saw of the two versions since the last look, whatever servers came, went or began anew."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, fields, replace
from typing import Any

from serving.observations import LATENCY_BOUNDS_MS, Moments, Observations, VersionObservations
from slipway.errors import InputError

Counters = Mapping[str, Mapping[str, "Arm"]]  # by server process, then by version

_REMEMBERED = 64  # server processes, the last seen


@dataclass(frozen=True)
class Arm:
    """What one version did: in a stretch of time, or since it was loaded.

    requests, errors, labelled, correct: of answers to requests, and of copies that it ran beside another's answers.
    copies, failed_copies: those of the requests, and of the errors, that were such copies.
    latencies: of answers alone, how many fell below each of LATENCY_BOUNDS_MS, and above the last; none at all: empty.
    compared, disagreed: copies whose first classes were compared with the answer's, and those that differ.
    """

    requests: int = 0
    errors: int = 0
    labelled: int = 0
    correct: int = 0
    copies: int = 0
    failed_copies: int = 0
    latencies: tuple[int, ...] = ()
    confidence: Moments = field(default_factory=Moments)
    compared: int = 0
    disagreed: int = 0

    def plus(self, other: "Arm") -> "Arm":
        """Both together."""
        return _combined(self, other, 1)

    def since(self, earlier: "Arm") -> "Arm | None":
        """What came since `earlier`; None if the counts began anew in between.

        Labels may be taken back, or be corrected; what they were before is not undone.
        """
        if any(getattr(self, name) < getattr(earlier, name) for name in ("requests", "errors", "copies", "compared")):
            return None
        came = _combined(self, earlier, -1)
        labelled = max(came.labelled, 0)
        return replace(came, labelled=labelled, correct=min(max(came.correct, 0), labelled))

    def as_dict(self) -> dict[str, Any]:
        """Plain JSON values, for `arm_from`."""
        values = {name: getattr(self, name) for name in _COUNTS}
        confidence = [self.confidence.count, self.confidence.sum, self.confidence.sum_squares]
        return {**values, "latencies": list(self.latencies), "confidence": confidence}


_COUNTS = tuple(each.name for each in fields(Arm) if each.name not in {"latencies", "confidence"})


@dataclass(frozen=True)
class Look:
    """What came in between two looks, over all servers."""

    stable: Arm = field(default_factory=Arm)
    canary: Arm = field(default_factory=Arm)


def arm_from(document: Mapping[str, Any]) -> Arm:
    """What `Arm.as_dict` wrote."""
    return Arm(
        **{name: int(document[name]) for name in _COUNTS},
        latencies=tuple(document["latencies"]),
        confidence=Moments(*document["confidence"]),
    )


def counters_of(observations: Iterable[Observations], versions: tuple[int, int]) -> dict[str, dict[str, Arm]]:
    """The counts that the servers show of `versions` (stable, canary), since each loaded it."""
    return {
        seen.server: {str(each.version): _arm(each) for each in seen.versions if each.version in versions}
        for seen in observations
    }


def look_between(before: Counters, now: Counters, versions: tuple[int, int]) -> tuple[Look, dict[str, dict[str, Arm]]]:
    """What came between two readings of the servers' counters, and the counters to compare the next ones with.

    A process or version that is seen for the first time, or whose counts began anew, counts from now on; a server that
    was not reached keeps its old counters, so that what it saw counts at the next look. So nothing counts twice.
    """
    stable, canary = (str(version) for version in versions)
    sums = {stable: Arm(), canary: Arm()}
    for server, arms in now.items():
        came = {version: arm.since(before.get(server, {}).get(version, arm)) for version, arm in arms.items()}
        for version, arm in came.items():
            if arm is not None:
                sums[version] = sums[version].plus(arm)
    unreached = [(server, dict(arms)) for server, arms in before.items() if server not in now]
    kept = [*unreached, *((server, dict(arms)) for server, arms in now.items())]
    return Look(sums[stable], sums[canary]), dict(kept[-_REMEMBERED:])


def _arm(seen: VersionObservations) -> Arm:
    if seen.latency_ms.bounds != LATENCY_BOUNDS_MS:
        raise InputError(
            f"observations of version {seen.version} have {len(seen.latency_ms.bounds)} latency bounds of their own; "
            "expected this release's. Bring server and command to the same release of Slipway."
        )
    return Arm(
        requests=seen.requests + seen.shadow.requests,
        errors=seen.errors + seen.shadow.errors,
        labelled=seen.labelled + seen.shadow.labelled,
        correct=seen.correct + seen.shadow.correct,
        copies=seen.shadow.requests,
        failed_copies=seen.shadow.errors,
        latencies=seen.latency_ms.counts,
        confidence=seen.confidence,
        compared=seen.shadow.compared,
        disagreed=seen.shadow.disagreed,
    )


def _combined(one: Arm, other: Arm, sign: int) -> Arm:
    size = max(len(one.latencies), len(other.latencies))
    left, right = (arm.latencies or (0,) * size for arm in (one, other))
    return Arm(
        **{name: getattr(one, name) + sign * getattr(other, name) for name in _COUNTS},
        latencies=tuple(a + sign * b for a, b in zip(left, right, strict=True)),
        confidence=Moments(
            one.confidence.count + sign * other.confidence.count,
            one.confidence.sum + sign * other.confidence.sum,
            one.confidence.sum_squares + sign * other.confidence.sum_squares,
        ),
    )
