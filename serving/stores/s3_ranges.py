"""An object as a file that can be sought in: read in ranges, never whole."""

import io
import os
from collections.abc import Callable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer


class RangedFile(io.RawIOBase):
    """So many bytes, of which `read_range` gives [first, end). Each read is a request, so ask for much at once."""

    def __init__(self, size_bytes: int, read_range: Callable[[int, int], bytes]) -> None:
        super().__init__()
        self._size_bytes, self._read_range = size_bytes, read_range
        self._position = 0

    def readable(self) -> bool:
        """See io.RawIOBase."""
        return True

    def seekable(self) -> bool:
        """See io.RawIOBase."""
        return True

    def tell(self) -> int:
        """See io.RawIOBase."""
        return self._position

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        """See io.RawIOBase."""
        begin = {os.SEEK_SET: 0, os.SEEK_CUR: self._position, os.SEEK_END: self._size_bytes}[whence]
        self._position = max(0, begin + offset)
        return self._position

    def readinto(self, buffer: "WriteableBuffer") -> int:
        """See io.RawIOBase."""
        view = memoryview(buffer).cast("B")
        end = min(self._position + len(view), self._size_bytes)
        if end <= self._position:
            return 0
        content = self._read_range(self._position, end)
        view[: len(content)] = content
        self._position = end
        return len(content)
