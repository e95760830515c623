"""Files that are being written, under names that nobody reads; those that a killed process left are removed.

Whoever writes one holds its lock, which the kernel releases when that process ends, however it ends.
"""

import fcntl
import os
from contextlib import suppress
from pathlib import Path
from secrets import token_hex

from serving.prediction_log.places import FILE_MODE, entries, model_folders


def begin(path: Path) -> tuple[Path, int]:
    """A new file beside `path`, and its descriptor, which holds its lock until it is closed."""
    while True:
        beside = path.with_name(f".{path.name}.{token_hex(4)}")
        descriptor = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, FILE_MODE)
        # Somebody may have taken it for a dead process's before the lock was there.
        with suppress(BlockingIOError):
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if os.fstat(descriptor).st_nlink:
                return beside, descriptor
        os.close(descriptor)


def write_whole(path: Path, data: memoryview) -> None:
    """Replace `path` by `data`, durably: a reader, or a crash, sees the old content or the new one, whole."""
    beside, descriptor = begin(path)
    try:
        while data:
            data = data[os.write(descriptor, data) :]
        os.fsync(descriptor)
        beside.replace(path)
    except BaseException:
        beside.unlink(missing_ok=True)
        raise
    finally:
        os.close(descriptor)
    folder = os.open(path.parent, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def remove_unfinished(log: Path) -> None:
    """Remove what killed processes had begun to write in the models' folders."""
    for folder in model_folders(log):
        for path in entries(folder):
            if path.name.startswith("."):
                _remove(path)


def _remove(path: Path) -> None:
    try:
        # For writing too: network file systems lock no file exclusively that is open for reading alone.
        descriptor = os.open(path, os.O_RDWR | os.O_CLOEXEC)
    except FileNotFoundError:  # finished meanwhile
        return
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return
    else:
        path.unlink(missing_ok=True)
    finally:
        os.close(descriptor)
