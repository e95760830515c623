"""Versions that are gone: what is counted of them goes an hour later, so that the page does not grow for ever."""

import threading
import time
from collections.abc import Callable, Collection

ModelVersion = tuple[str, str]  # a model's name, and the number of a version of it
_KEEP_S = 3600.0  # Prometheus has scraped the last of it by then, also after a while without


class Departed:
    """Remembers since when versions are gone. Any thread may call it. clock: in seconds, never backwards."""

    def __init__(self, clock: Callable[[], float] = time.monotonic, keep_s: float = _KEEP_S) -> None:
        self._clock = clock
        self._keep_s = keep_s
        self._lock = threading.Lock()
        self._since: dict[ModelVersion, float] = {}

    def look(self, counted: Collection[ModelVersion], present: Collection[ModelVersion]) -> set[ModelVersion]:
        """Those of `counted` that were not among the `present` in any look since `keep_s` ago."""
        with self._lock:
            now = self._clock()
            self._since = {version: self._since.get(version, now) for version in counted if version not in present}
            return {version for version, since in self._since.items() if now - since >= self._keep_s}
