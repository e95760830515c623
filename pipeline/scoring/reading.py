"""The bytes of images, read ahead. A bad image is an answer; a place that does not answer ends the run."""

import errno
import os
import tempfile
import threading
from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from pipeline.scoring.items import IN_S3, Item
from slipway.errors import ConflictError, InputError, NotFoundError, UnavailableError

if TYPE_CHECKING:
    from serving.stores.s3_listing import ListedBucket

_AT_ONCE = 8
_AHEAD = 32
_MOST_DENIED = 20  # images one after the other: more is not the images' fault
_OF_THE_IMAGE = {
    errno.ENOENT,
    errno.EACCES,
    errno.EPERM,
    errno.EISDIR,
    errno.ENOTDIR,
    errno.ENAMETOOLONG,
    errno.ELOOP,
    errno.EILSEQ,
}


class NotReadError(Exception):
    """Why this image, and no other, cannot be read."""


class _DeniedError(NotReadError):
    """S3 does not let us read it, and may let us read others."""


@contextmanager
def resumable() -> Iterator[None]:
    """A login that S3 refuses in the middle of a run is nothing that another option mends."""
    from serving.stores.s3_errors import DeniedError

    try:
        yield
    except DeniedError:
        raise
    except InputError as error:
        raise UnavailableError(f"{error} Then run the same command again: finished parts are kept.") from error


class Reader:
    """Reads images, several at once. To be used by one thread.

    scratch: where objects are fetched to, if it is there; else the system's folder for such files.
    """

    def __init__(self, scratch: str) -> None:
        self._buckets: dict[str, ListedBucket] = {}
        self._making = threading.Lock()
        self._pool = ThreadPoolExecutor(_AT_ONCE, "read")
        self._scratch = tempfile.TemporaryDirectory(
            prefix="slipway-score-", dir=scratch if Path(scratch).is_dir() else None, ignore_cleanup_errors=True
        )

    def read_all(self, items: Iterable[Item]) -> Iterator[tuple[Item, bytes | NotReadError]]:
        """Each item with its bytes, or with what is wrong with it, in order; a few are read ahead.

        UnavailableError for a disk or server that does not answer, or that denies one image after the other;
        ConflictError for an image that was changed since it was listed.
        """
        denied = 0
        for item, content in self._in_order(items):
            if not isinstance(content, _DeniedError):
                denied = 0
            elif (denied := denied + 1) > _MOST_DENIED:
                raise UnavailableError(
                    f"{content} So are the {_MOST_DENIED} images before it. Then run the same command again: finished "
                    "parts are kept."
                )
            yield item, content

    def _in_order(self, items: Iterable[Item]) -> Iterator[tuple[Item, bytes | NotReadError]]:
        ahead: deque[tuple[Item, Future[bytes | NotReadError]]] = deque()
        for item in items:
            ahead.append((item, self._pool.submit(self._read, item)))
            if len(ahead) > _AHEAD:
                first, future = ahead.popleft()
                yield first, future.result()
        for first, future in ahead:
            yield first, future.result()

    def close(self) -> None:
        """Wait for what is being read, and leave nothing behind."""
        self._pool.shutdown(cancel_futures=True)
        self._scratch.cleanup()

    def _read(self, item: Item) -> bytes | NotReadError:
        if item.content is not None:
            return item.content
        if not item.place:
            return NotReadError("holds no image; expected an encoded one")
        try:
            return self._object(item) if item.place.startswith(IN_S3) else _file(item)
        except NotReadError as error:
            return error

    def _bucket(self, name: str) -> "ListedBucket":
        from serving.stores.s3_bucket import is_bucket_name
        from serving.stores.s3_listing import ListedBucket

        if not is_bucket_name(name):
            raise NotReadError("names no bucket; expected s3://BUCKET/KEY")
        with self._making, resumable():
            if name not in self._buckets:
                self._buckets[name] = ListedBucket(name)
            return self._buckets[name]

    def _object(self, item: Item) -> bytes:
        from serving.stores.s3_errors import DeniedError
        from serving.stores.s3_listing import Listed

        name, _, key = item.place.removeprefix(IN_S3).partition("/")
        bucket = self._bucket(name)
        if not key:
            raise NotReadError("names no object; expected s3://BUCKET/KEY")
        descriptor, scratch = tempfile.mkstemp(dir=self._scratch.name)
        os.close(descriptor)
        file = Path(scratch)
        try:
            with resumable():
                bucket.fetch(Listed(key, item.size_bytes, 0.0, item.tag), file)
            return file.read_bytes()
        except DeniedError as error:
            raise _DeniedError(str(error)) from error
        except NotFoundError as error:
            raise NotReadError(str(error)) from error
        finally:
            file.unlink(missing_ok=True)


def _file(item: Item) -> bytes:
    try:
        with Path(item.place).open("rb") as stream:
            content = stream.read()
            found = os.fstat(stream.fileno())
    except ValueError as error:
        raise NotReadError("has a name that no file can have") from error
    except OSError as error:
        if item.tag and error.errno == errno.ENOENT:  # it, or the disk that it was on
            raise UnavailableError(
                f"{item.place}: is gone since it was listed; expected it where it was. Look at its disk, then run the "
                "same command again: finished parts are kept. If it was deleted, score what is left into another "
                "--output."
            ) from error
        if error.errno in _OF_THE_IMAGE:
            raise NotReadError(f"{error.strerror}; expected an image that can be read") from error
        raise UnavailableError(
            f"{item.place}: {error.strerror}; expected an image that can be read. Look at its disk, then run the same "
            "command again: finished parts are kept."
        ) from error
    if item.tag and (str(found.st_mtime_ns), found.st_size) != (item.tag, item.size_bytes):
        raise ConflictError(
            f"{item.place}: changed since it was listed; expected an input that stays as it is. Score it into another "
            "--output."
        )
    return content
