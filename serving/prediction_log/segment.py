"""The journals that a server appends one model's rows to, until they are rotated."""

import time
from collections import Counter
from pathlib import Path
from typing import Any

from serving.prediction_log.deletions import deletions
from serving.prediction_log.journal import Journal
from serving.prediction_log.places import FOLDER_MODE, journal_path
from serving.prediction_log.rotation import rotate
from serving.prediction_log.schema import LATER, schema


class Segment:
    """One stem's, made as they are needed; all are held until all are rotated."""

    def __init__(self, folder: Path, stem: str) -> None:
        self._folder = folder
        self._stem = stem
        self._journals: dict[str, Journal] = {}
        self._requests: Counter[str] = Counter()  # by kind
        self._began = time.monotonic()

    @property
    def size_bytes(self) -> int:
        """Of all journals."""
        return sum(journal.size_bytes for journal in self._journals.values())

    @property
    def age_s(self) -> float:
        """Since it was made."""
        return time.monotonic() - self._began

    @property
    def is_removed(self) -> bool:
        """Whether somebody has removed one of the journals, or the folder with them."""
        return any(journal.is_removed for journal in self._journals.values())

    @property
    def lost(self) -> int:
        """How many requests' records, and how many labels, went with journals that somebody removed."""
        kinds = [kind for kind, journal in self._journals.items() if journal.is_removed and kind not in LATER]
        return sum(self._requests[kind] for kind in kinds)

    def append(self, kind: str, batch: Any, requests: int) -> None:
        """Add rows of so many requests to the journal of that kind; OSError where the disk refuses, with none added."""
        journal = self._journals.get(kind)
        if journal is None:
            self._folder.mkdir(FOLDER_MODE, parents=True, exist_ok=True)
            journal = self._journals[kind] = Journal(journal_path(self._folder, self._stem, kind), schema(kind))
        journal.append(batch)
        self._requests[kind] += requests

    def rotate(self) -> None:
        """Make parquet of them. What this cannot do now, whoever finds them later does."""
        try:
            if self._journals:
                rotate(self._folder, self._stem, deletions(self._folder.parent))
        finally:
            for journal in self._journals.values():
                journal.close()
            self._journals.clear()
