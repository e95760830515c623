"""Staging directories: where a version is made ready, beside the directories that servers read.

A publisher that lives holds a lock on the file `lock` in its staging directory, which the kernel releases when it
dies, however it dies. So whoever gets that lock may remove the directory. The lock file is the first thing made in
a staging directory and the last one removed: without one, the directory is empty, and may go too.
"""

import contextlib
import fcntl
import os
import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

PREFIX = ".staging-"  # no server takes such a name for a version's number
_LOCK = "lock"


@contextmanager
def staging_directory(parent: Path) -> Iterator[Path]:
    """A new directory below `parent`, empty but for its lock, that is removed at the end whatever happens."""
    staging, lock = parent, None
    while lock is None:
        staging = parent / f"{PREFIX}{secrets.token_hex(8)}"
        lock = _claim(staging)
    try:
        yield staging
    finally:
        # The failure that led here, or the success, counts; the next sweep tries again to remove what is left.
        with contextlib.suppress(OSError):
            _remove(staging)
        os.close(lock)


def sweep(parent: Path) -> None:
    """Remove the staging directories of dead publishers below `parent`; what cannot be removed stays."""
    for staging in parent.glob(f"{PREFIX}*"):
        with contextlib.suppress(OSError):
            lock = _lock(staging)
            if lock is not None:
                try:
                    _remove(staging)
                finally:
                    os.close(lock)


def abandoned(parent: Path) -> list[Path]:
    """The staging directories of dead publishers below `parent`, which the next sweep removes."""
    found = []
    for staging in sorted(parent.glob(f"{PREFIX}*")):
        with contextlib.suppress(OSError):
            lock = _lock(staging)
            if lock is not None:
                os.close(lock)
                found.append(staging)
    return found


def _claim(staging: Path) -> int | None:
    """Make `staging` and return a descriptor that holds its lock; None if a sweep was quicker."""
    staging.mkdir()
    try:
        os.close(os.open(staging / _LOCK, os.O_RDWR | os.O_CREAT, 0o644))
        return _lock(staging)
    except FileNotFoundError:
        return None
    except OSError:
        shutil.rmtree(staging, ignore_errors=True)
        raise


def _lock(staging: Path) -> int | None:
    """A descriptor that holds the lock of `staging`; None if somebody else has it, or the directory is gone."""
    try:
        lock = os.open(staging / _LOCK, os.O_RDWR)
    except FileNotFoundError:
        staging.rmdir()
        return None
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if os.path.samestat(os.fstat(lock), (staging / _LOCK).stat()):
            return lock
    except (BlockingIOError, FileNotFoundError):
        pass
    except OSError:
        os.close(lock)
        raise
    os.close(lock)
    return None


def _remove(staging: Path) -> None:
    for child in staging.iterdir():
        if child.name == _LOCK:
            continue
        if child.is_dir() and not child.is_symlink():
            shutil.rmtree(child)
        else:
            child.unlink()
    (staging / _LOCK).unlink()
    staging.rmdir()
