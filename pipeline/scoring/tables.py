"""Parquet files that are read: a few rows at a time, those of a group one after the other, and in S3 by ranges."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from pipeline.scoring.items import IN_S3, Item, Rows
from pipeline.scoring.remote import Buckets, changed, resumable
from slipway.errors import ConflictError, InputError, UnavailableError

_CONTENT = "image_bytes"
_NAMES = ("image", "path", "id")
_ROWS = 16  # decoded at once
_BLOCK_BYTES = 4 * 2**20  # of a column, read at once: a request to S3


class Tables:
    """The parquet file that was read last, and how far. To be used by one thread."""

    def __init__(self, buckets: Buckets) -> None:
        self._buckets = buckets
        self._place, self._file = "", None
        self._group, self._next = -1, 0  # in that file: which group is being read, and which row of it comes next
        self._values: Iterator[dict[str, Any]] = iter(())

    def groups(self, place: str, tag: str, size_bytes: int) -> list[int]:
        """How many rows each group has; InputError for a file without encoded images."""
        with _file_errors(place):
            metadata = self._opened(Rows(place, tag, size_bytes, 0, 0, 0, "", 0)).metadata
            return [metadata.row_group(group).num_rows for group in range(metadata.num_row_groups)]

    def items(self, rows: Rows) -> Iterator[Item]:
        """The images, with their content. Rows that follow those that were read last need nothing to be read again."""
        with _file_errors(rows.place):
            file = self._opened(rows)
            name = next((name for name in _NAMES if name in file.schema_arrow.names), None)
            if self._group != rows.group or self._next > rows.first:
                columns = [_CONTENT] if name is None else [_CONTENT, name]
                batches = file.iter_batches(_ROWS, [rows.group], columns, use_threads=False)
                self._values = (values for batch in batches for values in batch.to_pylist())
                self._group, self._next = rows.group, 0
            for number in range(self._next - rows.first, rows.count):
                self._next += 1
                values = next(self._values, None)
                if values is None:
                    raise InputError(f"{rows.place}: ends before its last row; expected parquet. Write the file again.")
                if number >= 0:
                    given = None if name is None else values[name]
                    image = f"{rows.names}{rows.names_from + number}" if given is None else str(given)
                    yield Item(image, content=values[_CONTENT])

    def close(self) -> None:
        """Let go of the file."""
        if self._file is not None:
            self._file.close()
        self._place, self._file, self._group, self._values = "", None, -1, iter(())

    def _opened(self, rows: Rows) -> Any:
        import pyarrow as pa
        import pyarrow.parquet as pq

        if self._place != rows.place:
            self.close()
            file = pq.ParquetFile(self._source(rows), buffer_size=_BLOCK_BYTES, pre_buffer=False)
            kinds = {field.name: field.type for field in file.schema_arrow}
            found = kinds.get(_CONTENT)
            if found is None or not (pa.types.is_binary(found) or pa.types.is_large_binary(found)):
                raise InputError(
                    f"{rows.place}: has columns {', '.join(kinds)}; expected {_CONTENT}, of encoded images (binary). "
                    "Write the file with it."
                )
            self._place, self._file = rows.place, file
        return self._file

    def _source(self, rows: Rows) -> Any:
        import pyarrow as pa

        if rows.place.startswith(IN_S3):
            return pa.PythonFile(self._in_s3(rows), "r")
        found = Path(rows.place).stat()
        if (str(found.st_mtime_ns), found.st_size) != (rows.tag, rows.size_bytes):
            raise changed(rows.place)
        return pa.OSFile(rows.place)

    def _in_s3(self, rows: Rows) -> Any:
        from serving.stores.s3_listing import Listed
        from serving.stores.s3_ranges import RangedFile

        name, _, key = rows.place.removeprefix(IN_S3).partition("/")
        bucket, listed = self._buckets.open(name), Listed(key, rows.size_bytes, 0.0, rows.tag)

        def read_range(first: int, end: int) -> bytes:
            try:
                with resumable():
                    return bucket.section(listed, first, end)
            except ConflictError as error:
                raise changed(rows.place) from error

        return RangedFile(rows.size_bytes, read_range)


@contextmanager
def _file_errors(place: str) -> Iterator[None]:
    """What pyarrow says of a file that is damaged, and of a disk that does not answer."""
    import pyarrow as pa

    try:
        yield
    except (OSError, pa.ArrowException) as error:
        if isinstance(error, OSError) and error.errno is not None:
            raise UnavailableError(
                f"{place}: {error.strerror}; expected parquet that can be read. Look at its disk, then run the same "
                "command again: finished parts are kept."
            ) from error
        said = " ".join(str(error).split()).rstrip(".")
        raise InputError(f"{place}: {said}; expected parquet. Write the file again.") from error
