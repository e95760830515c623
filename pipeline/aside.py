"""What is written aside before it is kept, below a folder of things that can be made again; and what of it was left."""

import contextlib
import fcntl
import os
import shutil
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from slipway.errors import InputError

_YOUNG_S = 60.0  # its maker may not have locked it yet


@contextlib.contextmanager
def written_aside(folder: Path, prefix: str) -> Iterator[Path]:
    """A new folder below `folder`, gone after the block; those of killed processes with this prefix go, too.

    Who writes holds a lock on its own, which ends with the process.
    """
    folder.mkdir(parents=True, exist_ok=True)
    _remove_left(folder, prefix)
    aside = Path(tempfile.mkdtemp(dir=folder, prefix=prefix))
    lock = os.open(aside, os.O_RDONLY)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield aside
    finally:
        shutil.rmtree(aside, ignore_errors=True)
        os.close(lock)


def check_room(folder: Path, size_bytes: int, what: str, remedy: str) -> None:
    """InputError that ends in `remedy` unless `what`, of so many bytes, fits into the disk of an existing folder."""
    free_bytes = shutil.disk_usage(folder).free
    if size_bytes > free_bytes:
        raise InputError(
            f"{folder}: {what} take {size_bytes / 1e9:.1f} GB, and {free_bytes / 1e9:.1f} GB are free; expected room "
            f"for them. {remedy}"
        )


def _remove_left(folder: Path, prefix: str) -> None:
    for left in folder.glob(f"{prefix}*"):
        with contextlib.suppress(OSError):  # another removes it as well, or its writer lives
            if time.time() - left.stat().st_mtime < _YOUNG_S:
                continue
            lock = os.open(left, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                shutil.rmtree(left, ignore_errors=True)
            finally:
                os.close(lock)
