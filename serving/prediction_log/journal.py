"""A journal: record batches behind each other in one file, which a reader takes up to the last whole one.

It is Arrow's IPC stream format. Whoever appends holds the file's lock, which the kernel releases when that process
ends, however it ends: so a journal whose lock is free has nobody who would write to it.
"""

import fcntl
import os
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from serving.prediction_log.joining import conformed
from serving.prediction_log.unfinished import begin


class Journal:
    """A new journal at `path`, of batches of that schema. To be used by one thread; OSError where the disk refuses."""

    def __init__(self, path: Path, schema: Any) -> None:
        self.path = path
        # Locked before it has its name, or it could be taken for a dead server's.
        beside, self._descriptor = begin(path)
        try:
            self.size_bytes = 0
            self._write(schema.serialize())
            beside.rename(path)
        except BaseException:
            beside.unlink(missing_ok=True)
            os.close(self._descriptor)
            raise

    def append(self, batch: Any) -> None:
        """Add a batch: with the system when this returns, so that killing this process does not lose it.

        After an OSError the file is as it was.
        """
        self._write(batch.serialize())

    @property
    def is_removed(self) -> bool:
        """Whether somebody has removed the file: what was and is appended is nowhere."""
        return os.fstat(self._descriptor).st_nlink == 0

    def close(self) -> None:
        """Release it."""
        os.close(self._descriptor)

    def _write(self, message: Any) -> None:
        data = memoryview(message)
        end = self.size_bytes
        try:
            while data:
                written = os.write(self._descriptor, data)
                data = data[written:]
                end += written
        except OSError:
            # What follows half of a batch could not be read.
            os.ftruncate(self._descriptor, self.size_bytes)
            os.lseek(self._descriptor, self.size_bytes, os.SEEK_SET)
            raise
        self.size_bytes = end


def read_journal(path: Path, schema: Any) -> Any:
    """A table of all whole batches; what a killed server left unfinished behind them is passed over.

    FileNotFoundError if it has been rotated meanwhile.
    """
    import pyarrow as pa

    batches = []
    data = pa.py_buffer(path.read_bytes())
    try:
        stream = pa.ipc.open_stream(data)
        while True:
            batches.append(stream.read_next_batch())
    except (StopIteration, OSError, pa.ArrowException):
        pass
    return conformed(pa.Table.from_batches(batches), schema) if batches else schema.empty_table()


@contextmanager
def abandoned(paths: list[Path]) -> Iterator[bool]:
    """Whether nobody appends to any of those journals; if so, nobody else takes them until the block ends."""
    with ExitStack() as stack:
        yield all(_taken(stack, path) for path in paths)


def _taken(stack: ExitStack, path: Path) -> bool:
    try:
        # For writing too: network file systems lock no file exclusively that is open for reading alone.
        descriptor = os.open(path, os.O_RDWR | os.O_CLOEXEC)
    except FileNotFoundError:
        return False
    stack.callback(os.close, descriptor)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return path.exists()  # else who had the lock before has rotated it
