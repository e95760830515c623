"""What predictions and loads have done: counted where it happens, within microseconds; `metrics_page` words it."""

import threading
from bisect import bisect_left
from collections.abc import Callable, Collection
from pathlib import PurePath
from typing import NamedTuple, TypeVar

from serving.model_server.departed import ModelVersion
from serving.model_server.spans import Tracing
from serving.model_server.swaps import Swaps
from serving.prediction_log.rules import LogCounts
from serving.wire.status_pb2 import Code

# TensorFlow Serving's buckets, in microseconds: Buckets::Exponential(10, 1.8, 33).
LATENCY_BOUNDS_US = tuple(10 * 1.8**power for power in range(33))
# Its buckets for batches, in rows: Buckets::Exponential(1, 2, 14).
BATCH_BOUNDS = tuple(float(2**power) for power in range(14))

Labels = TypeVar("Labels")


class RequestLabels(NamedTuple):
    """What a prediction is counted by; what it did not come to know, as the version of an unknown model, is empty.

    label: what the version bore then. Labels are the config's: clients cannot make any up.
    """

    model: str
    version: str
    label: str
    signature: str
    variant: str
    api: str
    method: str
    code: Code.ValueType


class RunLabels(NamedTuple):
    """What a runtime's run is counted by."""

    model: str
    version: str
    signature: str
    variant: str
    method: str


class LoadLabels(NamedTuple):
    """What a load is counted by."""

    model: str
    path: str
    code: Code.ValueType


class RowLabels(NamedTuple):
    """What a batch is counted by."""

    model: str
    version: str


class Histogram:
    """How many values fell into each bucket, the last being all above the last bound, and their sum."""

    __slots__ = ("bounds", "counts", "total")

    def __init__(self, bounds: tuple[float, ...]) -> None:
        self.bounds = bounds
        self.counts = [0] * (len(bounds) + 1)
        self.total = 0.0

    def add(self, value: float) -> None:
        """Count one value."""
        self.counts[bisect_left(self.bounds, value)] += 1
        self.total += value

    def merge(self, other: "Histogram") -> None:
        """Count what another one of the same bounds counted."""
        self.counts = [mine + theirs for mine, theirs in zip(self.counts, other.counts, strict=True)]
        self.total += other.total


class Past(NamedTuple):
    """What versions had that are forgotten, without what is theirs alone: of so many models, APIs and codes."""

    requests: dict[RequestLabels, Histogram]
    runs: dict[RunLabels, Histogram]
    loads: dict[LoadLabels, Histogram]


class Metrics:
    """Counts since the start. Every method may be called from any thread.

    `serves` says whether a model of that name is served: a name that a client made up is not kept. `tracing`: what is
    told of single predictions, besides.
    """

    def __init__(self, serves: Callable[[str], bool] = lambda _name: True, tracing: Tracing | None = None) -> None:
        self._serves = serves
        self.tracing = tracing
        self.swaps = Swaps()
        self._lock = threading.Lock()
        self._in_flight = self._waiting = 0
        self._refused = 0
        self._waits = Histogram(LATENCY_BOUNDS_US)
        self._rows: dict[RowLabels, Histogram] = {}
        self._denied: dict[tuple[str, str], int] = {}
        self._batches = Histogram(BATCH_BOUNDS)
        self._requests: dict[RequestLabels, Histogram] = {}
        self._runs: dict[RunLabels, Histogram] = {}
        self._loads: dict[LoadLabels, Histogram] = {}
        self._past = Past({}, {}, {})
        self.log_counts: Callable[[], LogCounts] | None = None  # of the prediction log, if there is one

    def refused(self) -> None:
        """A prediction was refused because there were too many."""
        with self._lock:
            self._refused += 1

    def denied(self, api: str, reason: str) -> None:
        """A request was not let in."""
        with self._lock:
            self._denied[api, reason] = self._denied.get((api, reason), 0) + 1

    def batch(self, by: RowLabels | None, rows: int) -> None:
        """A batch of so many rows, padding included, is run; for a version, unless what it is for is not counted."""
        with self._lock:
            self._batches.add(rows)
            if by is not None:
                _at(self._rows, by, BATCH_BOUNDS).add(rows)

    def queued(self) -> None:
        """A prediction waits for a thread."""
        with self._lock:
            self._waiting += 1

    def begun(self, waited_s: float) -> None:
        """A prediction that waited has a thread, or was given up."""
        with self._lock:
            self._waiting -= 1
            self._waits.add(waited_s * 1e6)

    def loaded(self, model: str, path: str, code: Code.ValueType, took_s: float) -> None:
        """A load of the version directory `path` ended in `code`."""
        with self._lock:
            _at(self._loads, LoadLabels(model, path, code)).add(took_s * 1e6)

    def arrived(self) -> None:
        """A prediction arrived."""
        with self._lock:
            self._in_flight += 1

    def answered(self, labels: RequestLabels, took_s: float) -> None:
        """A prediction that had arrived was answered."""
        if not labels.version and not self._serves(labels.model):
            labels = labels._replace(model="")
        with self._lock:
            self._in_flight -= 1
            _at(self._requests, labels).add(took_s * 1e6)

    def ran(self, labels: RunLabels, took_s: float, rows: int = 0) -> None:
        """A runtime ran; so many rows, if that was no part of a larger batch."""
        with self._lock:
            _at(self._runs, labels).add(took_s * 1e6)
            if rows:
                _at(self._rows, RowLabels(labels.model, labels.version), BATCH_BOUNDS).add(rows)

    def versions(self) -> set[ModelVersion]:
        """Those of which something is counted, by model and number."""
        with self._lock:
            counted: set[ModelVersion] = {(by.model, _number(by.path)) for by in self._loads}
            counted.update((by.model, by.version) for by in self._requests)
            counted.update((by.model, by.version) for by in self._runs)
            counted.update((by.model, by.version) for by in self._rows)
        return {each for each in counted | self.swaps.versions() if each[1]}

    def forget(self, versions: Collection[ModelVersion]) -> None:
        """Keep nothing of those versions but what they add to sums of their models, which may not go down."""
        self.swaps.forget(versions)
        with self._lock:
            for request in [by for by in self._requests if (by.model, by.version) in versions]:
                past = request._replace(version="", label="", signature="", variant="")
                _keep(self._past.requests, past, self._requests.pop(request))
            for run in [by for by in self._runs if (by.model, by.version) in versions]:
                _keep(self._past.runs, run._replace(version="", signature=""), self._runs.pop(run))
            for load in [by for by in self._loads if (by.model, _number(by.path)) in versions]:
                _keep(self._past.loads, load._replace(path=""), self._loads.pop(load))
            for rows in [by for by in self._rows if (by.model, by.version) in versions]:
                del self._rows[rows]

    def snapshot(self) -> "Snapshot":
        """What was counted so far; the histograms are the live ones, in microseconds."""
        with self._lock:
            return Snapshot(
                self._in_flight,
                self._waiting,
                self._refused,
                dict(self._denied),
                self._batches,
                self._waits,
                dict(self._rows),
                dict(self._requests),
                dict(self._runs),
                dict(self._loads),
                Past(self._past.requests.copy(), self._past.runs.copy(), self._past.loads.copy()),
            )


class Snapshot(NamedTuple):
    """The counts at one moment."""

    in_flight: int
    waiting: int
    refused: int
    denied: dict[tuple[str, str], int]
    batches: Histogram
    waits: Histogram
    rows: dict[RowLabels, Histogram]
    requests: dict[RequestLabels, Histogram]
    runs: dict[RunLabels, Histogram]
    loads: dict[LoadLabels, Histogram]
    past: Past


def _keep(past: dict[Labels, Histogram], labels: Labels, gone: Histogram) -> None:
    """Added up anew: one that a snapshot has, beside what is gone now, must not count that twice."""
    kept = Histogram(gone.bounds)
    for each in (past.get(labels), gone):
        if each is not None:
            kept.merge(each)
    past[labels] = kept


def _number(path: str) -> str:
    """Of the version whose directory that is."""
    return PurePath(path).name.lstrip("0") or "0"


def _at(
    histograms: dict[Labels, Histogram], labels: Labels, bounds: tuple[float, ...] = LATENCY_BOUNDS_US
) -> Histogram:
    found = histograms.get(labels)
    if found is None:
        found = histograms[labels] = Histogram(bounds)
    return found
