"""One client's records go: from every answer at once, and from the disk when the servers that run have rotated."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from serving.prediction_log.deletions import delete_until, deletions, exclusively
from serving.prediction_log.parquet import raise_any
from serving.prediction_log.rewriting import rewrite_feedback, rewrite_records
from serving.prediction_log.rotation import rotate_abandoned

_LOOK_S = 0.1


@dataclass(frozen=True)
class Deleted:
    """records, feedback: rows that were taken off the disk, labels without a record among them.

    So are those of another deletion that was stopped. files: those rewritten. held: journals still to rotate.
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
    answer, and goes from the disk when they rotate. IntegrityError names files that are damaged, and UnavailableError
    what the disk refuses, when all others are done.
    """
    delete_until(log, client, now_us)
    unrotated = rotate_abandoned(log)
    held = waited_for = unrotated.held
    for _ in range(int(wait_s / _LOOK_S)):
        if not held:
            break
        sleep(_LOOK_S)
        unrotated = rotate_abandoned(log)
        held = waited_for & unrotated.held
    with exclusively(log, wait=True):
        gone = deletions(log)
        records, feedback = rewrite_records(log, gone), rewrite_feedback(log, gone)
    raise_any((*unrotated.failed, *records.failed, *feedback.failed))
    return Deleted(records.rows, feedback.rows, records.files + feedback.files, len(held))
