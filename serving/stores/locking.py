"""One process at a time: a lock on a file, which the kernel releases when its holder dies."""

import fcntl
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from slipway.errors import UnavailableError

_LOCK_WAIT_S = 10.0


@contextmanager
def locked(lock: Path) -> Iterator[None]:
    """Hold the file `lock`, which is made; UnavailableError if another process does for long."""
    descriptor = os.open(lock, os.O_RDWR | os.O_CREAT, 0o644)
    try:
        deadline = time.monotonic() + _LOCK_WAIT_S
        while True:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if time.monotonic() > deadline:
                    raise UnavailableError(
                        f"{lock}: held by another process for {_LOCK_WAIT_S:.0f} s; expected an update to take "
                        "milliseconds. Look for a stopped Slipway process (fuser), end it, and run this again."
                    ) from None
                time.sleep(0.02)
        yield
    finally:
        os.close(descriptor)
