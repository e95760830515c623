"""A file that the server does as it says, again whenever it says something else."""

import logging
from collections.abc import Callable
from pathlib import Path

from slipway.errors import InputError

_LOG = logging.getLogger(__name__)


class FollowedFile:
    """read: its content now; take: do as the content says. Both raise InputError, and then what was before stays."""

    def __init__(self, path: Path, read: Callable[[Path], bytes], take: Callable[[bytes], None]) -> None:
        self._path = path
        self._read = read
        self._take = take
        self._seen: bytes | None = None
        self._complaint = ""

    def start(self) -> None:
        """Do as it says for the first time; InputError if that cannot be done."""
        self._follow()

    def look(self) -> None:
        """Do as it says if that is new; what is wrong with it goes to the log, once."""
        try:
            if self._follow():
                _LOG.info("%s has changed and is in effect", self._path)
            self._complaint = ""
        except InputError as error:
            if str(error) != self._complaint:
                self._complaint = str(error)
                _LOG.error("%s What was in effect before stays.", error)

    def _follow(self) -> bool:
        data = self._read(self._path)
        if data == self._seen:
            return False
        self._take(data)
        self._seen = data
        return True
