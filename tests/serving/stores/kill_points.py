"""Kill a command at a moment of our choice: before one of its calls that change the disk, or when it has run a while.

`python -m tests.serving.stores.kill_points --below DIR --kill-before K -- MODULE [ARGUMENT ...]` runs
`python -m MODULE ARGUMENT ...` and sends itself SIGKILL before its K-th rename, replace, fsync, unlink, rmdir or mkdir
below DIR (0: never).
"""

import argparse
import os
import random
import runpy
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

_ROOT = Path(__file__).resolve().parents[3]
_CALLS = ("rename", "replace", "fsync", "fdatasync", "unlink", "remove", "rmdir", "mkdir")


def kill_before_each_call(arguments: Sequence[str], below: Path, timeout_s: float = 120) -> Iterator[int]:
    """Run `python -m *arguments` again and again, killed before its first call, its second, and so on.

    Yields the number of the call after each kill, for the caller to look at what is left; ends when a run finishes.
    """
    point = 1
    while run_until_call(arguments, below, point, timeout_s):
        yield point
        point += 1


def run_until_call(arguments: Sequence[str], below: Path, point: int, timeout_s: float = 120) -> bool:
    """Run `python -m *arguments`, killed before call number `point` below `below`; False if it finished before."""
    harness = [sys.executable, "-m", __name__, "--below", str(below), "--kill-before", str(point), "--"]
    done = subprocess.run(
        [*harness, *arguments], cwd=_ROOT, capture_output=True, text=True, timeout=timeout_s, check=False
    )
    assert done.returncode in {0, -signal.SIGKILL}, done.stderr
    return done.returncode == -signal.SIGKILL


def run_until_moment(
    arguments: Sequence[str], started: Callable[[], bool], longest_s: float, rng: random.Random, timeout_s: float = 120
) -> bool:
    """Run `python -m *arguments`, killed up to `longest_s` after `started()`; False if it finished before."""
    delay_s = rng.uniform(0, longest_s)
    deadline = time.monotonic() + timeout_s
    process = subprocess.Popen(
        [sys.executable, "-m", *arguments], cwd=_ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
    )
    try:
        while not started() and process.poll() is None:
            assert time.monotonic() < deadline, "the command did not start its work"
            time.sleep(0.001)
        process.wait(delay_s)
    except subprocess.TimeoutExpired:
        pass
    finally:
        process.kill()
        _, errors = process.communicate()
    assert process.returncode in {0, -signal.SIGKILL}, errors
    return process.returncode == -signal.SIGKILL


def die_before_call(point: int, below: Path) -> None:
    """Arrange that this process is killed before its call number `point` below `below`; 0: never."""
    counter = _Counter(below, point)
    assert shutil.rmtree.avoids_symlink_attacks  # decided when shutil was imported, by the calls as they were
    for name in _CALLS:
        counter.watch(name)


class _Counter:
    """Counts calls on paths below a directory and kills this process before the one it waits for."""

    def __init__(self, below: Path, kill_before: int) -> None:
        self._below = below.resolve()
        self._left = kill_before
        self._lock = threading.Lock()

    def watch(self, name: str) -> None:
        call = getattr(os, name)

        def counted(path, *args, **kwargs):
            if self._is_below(path, kwargs.get("dir_fd", kwargs.get("src_dir_fd"))):
                with self._lock:
                    self._left -= 1
                    if self._left == 0:
                        os.kill(os.getpid(), signal.SIGKILL)
            return call(path, *args, **kwargs)

        setattr(os, name, counted)

    def _is_below(self, path, dir_fd: int | None) -> bool:
        if isinstance(path, int):
            place = Path(f"/proc/self/fd/{path}").readlink()
        else:
            start = Path() if dir_fd is None else Path(f"/proc/self/fd/{dir_fd}").readlink()
            named = start / os.fsdecode(path)
            place = named.parent.resolve() / named.name
        return place.is_relative_to(self._below)


def _main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--below", type=Path, required=True)
    parser.add_argument("--kill-before", type=int, required=True)
    parser.add_argument("module")
    parser.add_argument("arguments", nargs=argparse.REMAINDER)
    options = parser.parse_args()
    die_before_call(options.kill_before, options.below)
    sys.argv[1:] = options.arguments
    runpy.run_module(options.module, run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    _main()
