"""A command of ours that runs beside this one, and ends with it."""

import os
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress

from serving.targets import leash

_ASK_AGAIN_S = 5.0


@contextmanager
def beside(module: str, arguments: Sequence[str]) -> Iterator[None]:
    """`python -m module ...` for the length of the block, or until this process dies."""
    process = subprocess.Popen(
        [sys.executable, "-I", "-S", leash.__file__, str(os.getpid()), sys.executable, "-m", module, *arguments],
        stdin=subprocess.DEVNULL,
        process_group=0,  # Ctrl-C reaches only us, and we end it
    )
    try:
        yield
    finally:
        while process.poll() is None:
            process.terminate()  # again and again: an interrupt that falls into an import's destructors is lost
            with suppress(subprocess.TimeoutExpired):
                process.wait(_ASK_AGAIN_S)
