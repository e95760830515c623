"""What is observed of one version while it is AVAILABLE: counted within microseconds, in bounded memory."""

import math
import threading
from bisect import bisect_left
from collections.abc import Mapping
from typing import Any

import numpy as np

from serving.model_server.identity import Identity
from serving.observations import (
    LATENCY_BOUNDS_MS,
    Latencies,
    Moments,
    ShadowObservations,
    VersionObservations,
)

Arrays = Mapping[str, "np.ndarray[Any, Any]"]


class _Latency:
    __slots__ = ("counts",)

    def __init__(self) -> None:
        self.counts = [0] * (len(LATENCY_BOUNDS_MS) + 1)

    def add(self, run_s: float) -> None:
        self.counts[bisect_left(LATENCY_BOUNDS_MS, run_s * 1000)] += 1

    def snapshot(self) -> Latencies:
        return Latencies(counts=tuple(self.counts))


class Tally:
    """One version's counts, from zero when it becomes AVAILABLE. Every method may be called from any thread."""

    def __init__(self, identity: Identity | None = None) -> None:
        self.identity = identity or Identity()
        self._lock = threading.Lock()
        self._requests = self._errors = self._labelled = self._correct = 0
        self._latency, self._shadow_latency = _Latency(), _Latency()
        self._confidences, self._confidence, self._confidence_squares = 0, 0.0, 0.0
        self._shadow = dict.fromkeys(
            ("requests", "errors", "compared", "disagreed", "labelled", "correct", "dropped"), 0
        )

    def answered(self, run_s: float, confidence: float | None) -> None:
        """The version answered a request that was assigned to it; `confidence` as `confidence_of` has it."""
        with self._lock:
            self._requests += 1
            self._latency.add(run_s)
            if confidence is not None:
                self._confidences += 1
                self._confidence += confidence
                self._confidence_squares += confidence * confidence

    def failed(self, *, shadow: bool = False) -> None:
        """The version failed a request that was assigned to it, or a copy."""
        with self._lock:
            if shadow:
                self._shadow["requests"] += 1
                self._shadow["errors"] += 1
            else:
                self._requests += 1
                self._errors += 1

    def labelled(self, images: int, correct: int, *, shadow: bool = False) -> None:
        """True labels of so many more images came; `correct` is below 0 where others were corrected."""
        with self._lock:
            if shadow:
                self._shadow["labelled"] += images
                self._shadow["correct"] += correct
            else:
                self._labelled += images
                self._correct += correct

    def shadowed(self, run_s: float, compared: int, disagreed: int) -> None:
        """The version ran a copy; of the images that it and the answer both classified, so many classes differ."""
        with self._lock:
            self._shadow["requests"] += 1
            self._shadow["compared"] += compared
            self._shadow["disagreed"] += disagreed
            self._shadow_latency.add(run_s)

    def dropped(self) -> None:
        """A copy was not run."""
        with self._lock:
            self._shadow["dropped"] += 1

    def snapshot(self, version: int, label: str) -> VersionObservations:
        """The counts at one moment."""
        with self._lock:
            return VersionObservations(
                version,
                label,
                self._requests,
                self._errors,
                self._latency.snapshot(),
                Moments(self._confidences, self._confidence, self._confidence_squares),
                self._labelled,
                self._correct,
                ShadowObservations(**self._shadow, latency_ms=self._shadow_latency.snapshot()),
            )


def confidence_of(outputs: Arrays) -> float | None:
    """The largest probability in `output`, float [N, classes]: the mean of the N rows'; None if there is no such."""
    output = outputs.get("output")
    if output is None or output.ndim != 2 or not output.size or output.dtype.kind != "f":
        return None
    confidence = float(output.max() if len(output) == 1 else output.max(axis=1).mean())
    return confidence if math.isfinite(confidence) else None


def first_classes(outputs: Arrays) -> tuple[int, ...]:
    """Each image's most probable class: `class_id` [N], or else by `output` [N, classes]; none if there is neither."""
    class_id, output = outputs.get("class_id"), outputs.get("output")
    if class_id is not None and class_id.ndim == 1 and class_id.dtype.kind in "iu":
        return tuple(class_id.astype(np.int64).tolist())
    if output is not None and output.ndim == 2 and output.size and output.dtype.kind == "f":
        return tuple(output.argmax(axis=1).tolist())
    return ()
