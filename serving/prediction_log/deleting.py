"""One client's records go: from every answer at once, and from the disk when the servers that run have rotated."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from serving.prediction_log.deletions import delete_until, deletions, without
from serving.prediction_log.labels import with_records
from serving.prediction_log.places import Rotated, model_folders, rotated
from serving.prediction_log.rotation import replace_rotated, rotate_abandoned
from serving.prediction_log.schema import FEEDBACK, RECORDS

_LOOK_S = 0.1


@dataclass(frozen=True)
class Deleted:
    """records, feedback: rows that were taken off the disk, labels without a record among them.

    files: those rewritten. held: journals still to rotate.
    """

    records: int
    feedback: int
    files: int
    held: int


def delete_client(
    log: Path, client: str, now_us: int, wait_s: float, sleep: Callable[[float], None] = time.sleep
) -> Deleted:
    """Delete the records of a client, by its digest, up to now; may be done again after it was stopped.

    Servers that run are asked to rotate, and waited for so long; what they have not rotated then is out of every
    answer, and goes from the disk when they rotate.
    """
    delete_until(log, client, now_us)
    waited_for = rotate_abandoned(log)
    held = waited_for
    for _ in range(int(wait_s / _LOOK_S)):
        if not held:
            break
        sleep(_LOOK_S)
        held = waited_for & rotate_abandoned(log)
    records = feedback = files = 0
    gone = deletions(log)
    for folder in model_folders(log):
        for file in rotated(folder, RECORDS):
            removed = _rewritten(file, lambda table: without(table, {client: now_us}))
            records, files = records + removed, files + bool(removed)
        for file in rotated(folder, FEEDBACK):
            removed = _rewritten(file, partial(with_records, folder=folder, gone=gone))
            feedback, files = feedback + removed, files + bool(removed)
    return Deleted(records, feedback, files, len(held))


def _rewritten(file: Rotated, kept: Callable[[Any], Any]) -> int:
    """How many rows a file has no more; it is replaced as a whole, or removed if none are left."""
    import pyarrow.parquet as pq

    try:
        table = pq.ParquetFile(file.path).read()
    except FileNotFoundError:  # a server has removed what is old
        return 0
    left = kept(table)
    if len(left) == len(table):
        return 0
    file.path.unlink() if not len(left) else replace_rotated(file.path, left)
    return len(table) - len(left)
