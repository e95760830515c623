"""What the operating system says of a base path's disk, in our words: translated once, at the door."""

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from slipway.errors import InputError, UnavailableError

_FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
_FORBIDDEN = {errno.EROFS, errno.EACCES, errno.EPERM, errno.ENOTDIR, errno.EISDIR, errno.EEXIST, errno.ENAMETOOLONG}


@contextmanager
def disk_errors(path: Path) -> Iterator[None]:
    """Translate what is raised about `path`, or below it."""
    try:
        yield
    except OSError as error:
        number = _error_number(error)
        text = os.strerror(number) if number else " ".join(str(error).split())
        reason = f"{error.filename or path}: {text}"
        if number in _FULL:
            raise UnavailableError(
                f"{reason}; expected room for the whole version. Free some below {path}, then run the same command "
                "again; nothing half written stays."
            ) from error
        if number in _FORBIDDEN:
            raise InputError(
                f"{reason}; expected a directory that this user can read and write, {path}. Mend its permissions or "
                "pass another --base."
            ) from error
        raise UnavailableError(
            f"{reason}; expected to work below {path}. Mend what it names, then run the same command again."
        ) from error


def _error_number(error: OSError) -> int | None:
    """The error's number; shutil.Error, which copying a tree raises, has only the texts of the errors it met."""
    if error.errno is not None:
        return error.errno
    return next((number for number in sorted(_FULL | _FORBIDDEN) if os.strerror(number) in str(error)), None)
