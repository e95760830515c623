"""`--access_log`: a line of JSON for each request, with who asked, what, and how it ended; never a token."""

import logging
import os
import sys
import threading
import time
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import orjson

from slipway.errors import InputError

STANDARD_OUTPUT = "-"
_OWNER_AND_GROUP = 0o640
_LONGEST = 1000  # characters of a path: the client chose it
_LOG = logging.getLogger(__name__)


@dataclass
class Entry:
    """One request. token: the name of the one that it came with. denied: why it was not let in, if it was not."""

    api: str
    method: str
    path: str
    client: str = ""
    token: str = ""
    denied: str = ""
    status: int | str = ""
    request_id: str = ""
    version: str = ""


class AccessLog:
    """Writes to the file `target`, or to standard output. Every method may be called from any thread."""

    def __init__(self, target: str) -> None:
        self._path = None if target == STANDARD_OUTPUT else Path(target)
        self._lock = threading.Lock()
        self._complaint = ""
        self._descriptor = sys.stdout.fileno() if self._path is None else _opened(self._path)

    def write(self, entry: Entry, took_s: float) -> None:
        """Write a request's line; what the disk refuses is lost, and said once in the server's log."""
        line = {
            "time": datetime.fromtimestamp(time.time(), UTC).isoformat(timespec="milliseconds"),
            "request_id": entry.request_id or None,
            "token": entry.token or None,
            "client": entry.client or None,
            "api": entry.api,
            "method": entry.method or None,
            "path": entry.path[:_LONGEST],
            "status": entry.status,
            "denied": entry.denied or None,
            "version": entry.version or None,
            "ms": round(took_s * 1000, 3),
        }
        data = orjson.dumps(line, option=orjson.OPT_APPEND_NEWLINE)
        try:
            with self._lock:
                os.write(self._descriptor, data)  # one write a line, appended: lines of several servers do not mix
            self._complaint = ""
        except OSError as error:
            self._complain(f"--access_log={self._path or STANDARD_OUTPUT}: cannot be written ({error.strerror})")

    def look(self) -> None:
        """Open the file anew if it was moved away, as programs do that rotate logs."""
        if self._path is None:
            return
        try:
            there = self._path.stat()
            is_ours = (there.st_dev, there.st_ino) == _identity(self._descriptor)
        except FileNotFoundError:
            is_ours = False
        except OSError:
            return  # a directory that may not be entered just now
        if not is_ours:
            try:
                fresh = _opened(self._path)
            except InputError as error:
                self._complain(str(error))
                return
            with self._lock:
                old, self._descriptor = self._descriptor, fresh
            os.close(old)

    def _complain(self, text: str) -> None:
        if text != self._complaint:
            self._complaint = text
            _LOG.error("%s", text)


def _opened(path: Path) -> int:
    try:
        return os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, _OWNER_AND_GROUP)
    except OSError as error:
        raise InputError(
            f"--access_log={path}: cannot be opened ({error.strerror}); expected a file that this user may write, or -."
        ) from error


def _identity(descriptor: int) -> tuple[int, int]:
    status = os.fstat(descriptor)
    return status.st_dev, status.st_ino
