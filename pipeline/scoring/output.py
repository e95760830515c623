"""Where the parts go: a folder, or a prefix in S3. A part is there whole or not at all."""

import fcntl
import os
import re
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from itertools import islice
from pathlib import Path
from typing import Protocol

from pipeline.scoring.items import IN_S3
from pipeline.scoring.remote import resumable
from slipway.errors import ConflictError, InputError, UnavailableError
from slipway.files import write_atomically

_PLAN = "_slipway_score.json"  # readers of parquet pass over names that begin with _ or .
_LOCK = ".lock"
_MAGIC = b"PAR1"
_PART = re.compile(r"part-(\d{8,})\.parquet")


class Output(Protocol):
    """Parts by their numbers, and the plan that they follow."""

    def held(self) -> AbstractContextManager[None]:
        """A block in which no other run writes here, where that can be known; ConflictError if one does."""

    def plan(self, make: Callable[[], bytes]) -> bytes:
        """The plan that is there, or the one that is made now; InputError if other things lie there."""

    def parts(self) -> set[int]:
        """The numbers of the parts that are there, whole as far as can be told without reading them."""

    def put(self, number: int, data: bytes) -> None:
        """Write a part."""


def open_output(place: str) -> Output:
    """The output at a folder's path, or at s3://BUCKET/PREFIX."""
    return S3Output(place) if place.startswith(IN_S3) else FolderOutput(place)


def part_name(number: int) -> str:
    """A part's name; by name they are in the order of the input."""
    return f"part-{number:08}.parquet"


class FolderOutput:
    """`Output` in a folder, which is made if its parent is there."""

    def __init__(self, place: str) -> None:
        self._folder = Path(place).expanduser().absolute()

    @contextmanager
    def held(self) -> Iterator[None]:
        """See Output. The kernel lets go of the lock when its holder dies."""
        with _disk_errors(self._folder):
            if (self._folder.exists() and not self._folder.is_dir()) or not self._folder.parent.is_dir():
                raise InputError(
                    f"--output {self._folder}: expected a folder, or a new one's name in a folder that exists. Pass "
                    "another."
                )
            self._folder.mkdir(exist_ok=True)
            lock = os.open(self._folder / _LOCK, os.O_RDWR | os.O_CREAT, 0o644)
        try:
            with _disk_errors(self._folder):
                self._lock(lock)
                for leftover in self._folder.glob(f".{_PLAN}.*"):
                    leftover.unlink(missing_ok=True)
                for leftover in self._folder.glob(".part-*"):  # of a worker that was killed
                    leftover.unlink(missing_ok=True)
            yield
        finally:
            os.close(lock)

    def _lock(self, lock: int) -> None:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise ConflictError(
                f"--output {self._folder}: another run writes there; expected one at a time. Wait until it has "
                "ended, or pass another --output."
            ) from error

    def plan(self, make: Callable[[], bytes]) -> bytes:
        """See Output."""
        file = self._folder / _PLAN
        with _disk_errors(self._folder):
            if not file.is_file():
                others = sorted(entry.name for entry in self._folder.iterdir() if entry.name != _LOCK)
                _check_empty(str(self._folder), others)
        if not file.is_file():
            data = make()
            with _disk_errors(file):
                write_atomically(file, data)
        with _disk_errors(file):
            return file.read_bytes()

    def parts(self) -> set[int]:
        """See Output."""
        with _disk_errors(self._folder):
            return set(_numbers(entry.name for entry in os.scandir(self._folder) if _is_whole(entry.path)))

    def put(self, number: int, data: bytes) -> None:
        """See Output. Written beside, made durable, and renamed."""
        with _disk_errors(self._folder):
            write_atomically(self._folder / part_name(number), data)


class S3Output:
    """`Output` below a prefix. S3 has no lock: two runs at once write the same bytes, and the first ones stay."""

    def __init__(self, place: str) -> None:
        from serving.stores.s3_listing import ListedBucket

        self._place = place.rstrip("/")
        bucket, _, prefix = self._place.removeprefix(IN_S3).partition("/")
        self._prefix = f"{prefix}/" if prefix else ""
        self._bucket = ListedBucket(bucket)

    @contextmanager
    def held(self) -> Iterator[None]:
        """See Output."""
        yield

    def plan(self, make: Callable[[], bytes]) -> bytes:
        """See Output."""
        key = f"{self._prefix}{_PLAN}"
        found, absent = self._bucket.read(key)
        if found is None:
            # An empty object of the prefix's own name is what a console makes of a new folder.
            others = (each.key for each in self._bucket.objects(self._prefix) if each.key != self._prefix)
            _check_empty(self._place, list(islice(others, 1)))
            self._bucket.put(key, make(), absent)
            found, _ = self._bucket.read(key)
        return found or b""

    def parts(self) -> set[int]:
        """See Output."""
        below = self._bucket.objects(self._prefix, inside=False)
        return set(_numbers(each.key.removeprefix(self._prefix) for each in below))

    def put(self, number: int, data: bytes) -> None:
        """See Output."""
        from serving.stores.s3_bucket import IF_ABSENT

        with resumable():
            self._bucket.put(f"{self._prefix}{part_name(number)}", data, IF_ABSENT)


@contextmanager
def _disk_errors(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise UnavailableError(
            f"--output {error.filename or path}: {error.strerror or error}; expected to read and write parts there. "
            "Make room, or mend its permissions, then run the same command again: finished parts are kept."
        ) from error


def _is_whole(file: str) -> bool:
    """Whether it begins and ends as parquet does: what a disk has lost of a part is written again."""
    if not file.endswith(".parquet"):
        return False
    with Path(file).open("rb") as stream:
        begin = stream.read(len(_MAGIC))
        size_bytes = stream.seek(0, os.SEEK_END)
        stream.seek(max(0, size_bytes - len(_MAGIC)))
        return size_bytes > 2 * len(_MAGIC) and begin == stream.read() == _MAGIC


def _numbers(names: Iterator[str]) -> Iterator[int]:
    return (int(found[1]) for found in map(_PART.fullmatch, names) if found)


def _check_empty(place: str, others: list[str]) -> None:
    if others:
        raise InputError(
            f"--output {place}: holds {others[0]!r} and no plan of a scoring; expected an empty place, or one that "
            "`slipway score` has begun. Pass another --output."
        )
