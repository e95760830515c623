"""The bytes of images, read ahead. A bad image is an answer; a place that does not answer ends the run."""

import errno
import os
import tempfile
from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from itertools import chain
from pathlib import Path
from stat import S_ISREG

from pipeline.scoring.items import IN_S3, Item, Part
from pipeline.scoring.remote import Buckets, changed, resumable
from pipeline.scoring.scratch import disk_errors
from pipeline.scoring.tables import Tables
from slipway.errors import ConflictError, IntegrityError, NotFoundError, UnavailableError

_AT_ONCE = 8
_AHEAD = 32
_MOST_REFUSED = 20  # images one after the other, before it is asked whether that is the images' fault
_LARGEST_BYTES = 2**29  # nothing that is decoded is larger, and one alone is not to take all memory
_OF_THE_IMAGE = {
    errno.ENOENT,
    errno.EACCES,
    errno.EPERM,
    errno.EISDIR,
    errno.ENOTDIR,
    errno.ENAMETOOLONG,
    errno.ELOOP,
    errno.EILSEQ,
    errno.ENXIO,  # a socket
}


class NotReadError(Exception):
    """Why this image, and no other, cannot be read."""


class _RefusedError(NotReadError):
    """S3 does not give it to us, and may give us others."""


class Reader:
    """Reads images, several at once. To be used by one thread.

    scratch: where objects are fetched to, if it is there; else the system's folder for such files. witnesses: images
    of the same input, from all over it.
    """

    def __init__(self, scratch: str, witnesses: Iterable[Item] = ()) -> None:
        self._buckets, self._witnesses = Buckets(), list(witnesses)
        self._tables = Tables(self._buckets)
        self._pool = ThreadPoolExecutor(_AT_ONCE, "read")
        parent = scratch if Path(scratch).is_dir() else tempfile.gettempdir()
        with disk_errors(Path(parent)):
            self._scratch = tempfile.TemporaryDirectory(prefix="slipway-score-", dir=parent, ignore_cleanup_errors=True)

    def read(self, part: Part) -> Iterator[tuple[Item, bytes | NotReadError]]:
        """Each image of a part with its bytes, or with what is wrong with it, in order; a few are read ahead.

        UnavailableError for a disk or server that does not answer, or that refuses one image after the other and none
        of the witnesses; ConflictError for an image that was changed since it was listed.
        """
        images = chain(part.items, *(self._tables.items(rows) for rows in part.rows))
        refused = 0
        for item, content in self._in_order(images):
            if not isinstance(content, _RefusedError):
                refused = 0
            elif (refused := refused + 1) > _MOST_REFUSED:
                self._hear_witnesses(content)
                refused = 0
            yield item, content

    def _hear_witnesses(self, refusal: NotReadError) -> None:
        """UnavailableError unless one of them can be read: then these are refused, and not we."""
        for number, witness in enumerate(self._witnesses):
            if isinstance(self._read(witness), bytes):
                self._witnesses.insert(0, self._witnesses.pop(number))
                return
        raise UnavailableError(
            f"{refusal} So are the {_MOST_REFUSED} images before it, and others of this input. Then run the same "
            "command again: finished parts are kept."
        )

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
        self._tables.close()
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

    def _object(self, item: Item) -> bytes:
        from serving.stores.s3_bucket import is_bucket_name
        from serving.stores.s3_errors import DeniedError, ObjectError
        from serving.stores.s3_listing import Listed

        name, _, key = item.place.removeprefix(IN_S3).partition("/")
        if not is_bucket_name(name):
            raise NotReadError("names no bucket; expected s3://BUCKET/KEY")
        if not key:
            raise NotReadError("names no object; expected s3://BUCKET/KEY")
        try:
            with resumable(), self._scratch_file() as file:
                bucket = self._buckets.open(name)
                bucket.fetch(Listed(key, item.size_bytes, 0.0, item.tag), file, _LARGEST_BYTES)
                return file.read_bytes()
        except (DeniedError, ObjectError, IntegrityError) as error:
            raise _RefusedError(str(error)) from error
        except NotFoundError as error:
            raise NotReadError(str(error)) from error
        except ConflictError as error:
            if isinstance(error.__cause__, NotFoundError):
                raise _RefusedError(f"{item.place}: is gone since it was listed; expected it where it was.") from error
            raise changed(item.place) from error

    @contextmanager
    def _scratch_file(self) -> Iterator[Path]:
        with disk_errors(Path(self._scratch.name)):
            descriptor, name = tempfile.mkstemp(dir=self._scratch.name)
            os.close(descriptor)
            try:
                yield Path(name)
            finally:
                Path(name).unlink(missing_ok=True)


def _file(item: Item) -> bytes:
    try:
        with open(item.place, "rb", opener=_open_at_once) as stream:
            found = os.fstat(stream.fileno())
            if not S_ISREG(found.st_mode):
                raise NotReadError("is no file; expected an image")
            if found.st_size > _LARGEST_BYTES:
                raise NotReadError(f"has {found.st_size} bytes; expected {_LARGEST_BYTES} at most")
            content = stream.read()
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
        raise changed(item.place)
    return content


def _open_at_once(path: str, flags: int) -> int:
    """A pipe that nobody writes to would be waited for."""
    return os.open(path, flags | os.O_NONBLOCK)
