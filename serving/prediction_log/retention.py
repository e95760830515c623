"""What is too old, or too much, goes: whole files, the oldest first."""

import time
from dataclasses import dataclass
from pathlib import Path

from serving.prediction_log.parquet import raise_any
from serving.prediction_log.places import Rotated, model_folders, rotated, size_bytes
from serving.prediction_log.rewriting import forget_old
from serving.prediction_log.rotation import rotate_abandoned
from serving.prediction_log.schema import FEEDBACK, RECORDS


@dataclass(frozen=True)
class Pruned:
    """What was removed."""

    files: int
    bytes: int


def prune(log: Path, most_bytes: int | None, keep_s: float | None, now_us: int) -> Pruned:
    """Remove rotated files whose last row is older than that, then the oldest until the log is within that size.

    None: no such limit. Journals of servers that run count, and stay: they are rotated before they are large. Those of
    killed ones are rotated first, and deletions of long ago forgotten last, when what they name is gone. IntegrityError
    names files that are damaged, and UnavailableError what the disk refuses, when all others are done.
    """
    unrotated = rotate_abandoned(log)
    every = sorted(
        (file for folder in model_folders(log) for file in rotated(folder, RECORDS, FEEDBACK)),
        key=lambda file: file.last_us,
    )
    oldest_us = 0 if keep_s is None else now_us - int(keep_s * 1e6)
    over_bytes = 0 if most_bytes is None else size_bytes(log) - most_bytes
    files = removed_bytes = 0
    for file in every:
        if file.last_us >= oldest_us and removed_bytes >= over_bytes:
            break
        files += 1
        removed_bytes += _remove(file)
    raise_any((*unrotated.failed, *forget_old(log, now_us)))
    return Pruned(files, removed_bytes)


def oldest_us(log: Path) -> int | None:
    """The time of the oldest row that is rotated, in microseconds since the epoch; None if there is none."""
    first = [file.first_us for folder in model_folders(log) for file in rotated(folder, RECORDS)]
    return min(first, default=None)


def now_us() -> int:
    """The time of a row that is made now."""
    return time.time_ns() // 1000


def _remove(file: Rotated) -> int:
    try:
        size = file.path.stat().st_size
        file.path.unlink()
    except FileNotFoundError:  # another server was first
        return 0
    return size
