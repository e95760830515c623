"""Which clients' records are gone: a small file for each deletion, since a running server's journal is its own.

Whoever reads or rotates leaves out what they name, and a server that sees a new one rotates at once. So the rows are
out of every answer when the file is there, and off the disk when the servers have rotated.
"""

import fcntl
import os
import re
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from serving.prediction_log.places import FILE_MODE, FOLDER_MODE, entries

FOLDER = ".deletions"
_NAME = re.compile(r"([0-9a-f]{32})-(\d{16})", re.ASCII)
_KEPT_US = 7 * 86_400 * 1_000_000  # long after every journal of before has been rotated, unless something failed


class Deletion(NamedTuple):
    """The records of `client`, a digest, up to that time are gone; `path` says so."""

    client: str
    time_us: int
    path: Path


def delete_until(log: Path, client: str, time_us: int) -> None:
    """From now on the records of `client`, a digest, up to that time are gone."""
    folder = log / FOLDER
    folder.mkdir(FOLDER_MODE, exist_ok=True)
    os.close(os.open(folder / f"{client}-{time_us:016d}", os.O_CREAT | os.O_WRONLY | os.O_CLOEXEC, FILE_MODE))


def deletions(log: Path) -> Mapping[str, int]:
    """Each client whose records are gone, and up to which time, in microseconds."""
    return latest(_listed(log))


def latest(several: Iterable[Deletion]) -> Mapping[str, int]:
    """Of each client the last time."""
    found: dict[str, int] = {}
    for deletion in several:
        found[deletion.client] = max(deletion.time_us, found.get(deletion.client, 0))
    return found


def old_deletions(log: Path, now_us: int) -> list[Deletion]:
    """Those of so long ago that nothing should be left of them."""
    return [deletion for deletion in _listed(log) if deletion.time_us < now_us - _KEPT_US]


@contextmanager
def exclusively(log: Path, *, wait: bool) -> Iterator[None]:
    """While this lasts nobody else rewrites the log's files: who did would write back what is being taken out.

    BlockingIOError if somebody does, and this is not to wait.
    """
    folder = log / FOLDER
    folder.mkdir(FOLDER_MODE, exist_ok=True)
    descriptor = os.open(folder, os.O_RDONLY | os.O_CLOEXEC)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
        yield
    finally:
        os.close(descriptor)


def state(log: Path) -> int:
    """Another number whenever there is a new deletion."""
    try:
        return (log / FOLDER).stat().st_mtime_ns
    except FileNotFoundError:
        return 0


def without(table: Any, gone: Mapping[str, int]) -> Any:
    """The rows of a table of records that were not deleted."""
    import pyarrow as pa
    import pyarrow.compute as pc

    for client, time_us in gone.items():
        is_gone = pc.and_(
            pc.equal(table["client"], client),
            pc.less_equal(table["time"], pa.scalar(time_us, pa.timestamp("us", tz="UTC"))),
        )
        table = table.filter(pc.invert(pc.fill_null(is_gone, fill_value=False)))
    return table


def _listed(log: Path) -> list[Deletion]:
    matches = [match for path in entries(log / FOLDER) if (match := _NAME.fullmatch(path.name))]
    return [Deletion(match[1], int(match[2]), log / FOLDER / match[0]) for match in matches]
