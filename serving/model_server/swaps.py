"""What became of versions, counted: loads, unloads, labels that moved, golden requests that were answered wrong."""

import threading
from collections import Counter
from collections.abc import Collection
from typing import NamedTuple

from serving.model_server.departed import ModelVersion
from serving.model_server.errors import ServingError


class SwapCounts(NamedTuple):
    """The counts at one moment, by model and version, or by model and label."""

    loads: Counter[tuple[str, str]]
    unloads: Counter[tuple[str, str]]
    label_moves: Counter[tuple[str, str]]
    golden_failures: Counter[tuple[str, str]]


class Swaps:
    """Counts since the start. Every method may be called from any thread."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._counts = SwapCounts(Counter(), Counter(), Counter(), Counter())

    def loaded(self, model: str, version: int) -> None:
        """A version became AVAILABLE."""
        self._add(self._counts.loads, model, str(version))

    def unloaded(self, model: str, version: int) -> None:
        """A version that was AVAILABLE is no more."""
        self._add(self._counts.unloads, model, str(version))

    def label_moved(self, model: str, label: str) -> None:
        """A label went to a version."""
        self._add(self._counts.label_moves, model, label)

    def failed(self, model: str, version: int, failure: ServingError) -> None:
        """A version was refused, or found at fault; counted if golden requests were answered wrong."""
        if failure.golden:
            self._add(self._counts.golden_failures, model, str(version))

    def snapshot(self) -> SwapCounts:
        """What was counted so far."""
        with self._lock:
            return SwapCounts(*(each.copy() for each in self._counts))

    def versions(self) -> set[ModelVersion]:
        """Those of which something was counted."""
        with self._lock:
            return {version for counter in self._of_versions() for version in counter}

    def forget(self, versions: Collection[ModelVersion]) -> None:
        """Count nothing of those versions, as if they had never been."""
        with self._lock:
            for counter in self._of_versions():
                for version in versions:
                    counter.pop(version, None)

    def _of_versions(self) -> tuple[Counter[ModelVersion], ...]:
        return self._counts.loads, self._counts.unloads, self._counts.golden_failures

    def _add(self, counter: Counter[tuple[str, str]], model: str, of: str) -> None:
        with self._lock:
            counter[model, of] += 1
