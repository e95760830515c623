"""Parquet that holds the encoded images themselves."""

import hashlib
import json
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from pipeline.scoring.items import Item, Part
from slipway.errors import InputError

_CONTENT = "image_bytes"
_NAMES = ("image", "path", "id")
_ROWS = 64  # read at once


class ParquetInput:
    """`Source`: files with a column `image_bytes`, and perhaps one that names the image: `image`, `path` or `id`.

    tags: each file's; another one is another content. place: what the files are called in messages.
    """

    def __init__(self, files: Sequence[Path], tags: Sequence[str], place: str) -> None:
        self._files, self._place = files, place
        self._rows = [self._open(file).metadata.num_rows for file in files]
        self.images = sum(self._rows)
        sizes = [file.stat().st_size for file in files]
        facts = json.dumps([tags, sizes, self._rows])
        self.digest = hashlib.sha256(facts.encode()).hexdigest()

    def parts(self, part_images: int, is_wanted: Callable[[int], bool]) -> Iterator[Part]:
        """See Source. Groups of rows of which nothing is wanted are not read."""
        pending = []
        items = self._items(lambda first, end: any(map(is_wanted, _numbers(first, end, part_images))))
        for row, item in enumerate(items):
            number = row // part_images
            if item is not None and is_wanted(number):
                pending.append(item)
            if (row + 1) % part_images == 0 or row + 1 == self.images:
                if pending:
                    yield Part(number, number * part_images, pending)
                pending = []

    def _items(self, is_read: Callable[[int, int], bool]) -> Iterator[Item | None]:
        """An item a row, None for those of a group of rows, [first, end), that is not read."""
        first = 0
        for number, path in enumerate(self._files):
            file, in_file = self._open(path), 0
            names = next((name for name in _NAMES if name in file.schema_arrow.names), None)
            columns = [_CONTENT] if names is None else [_CONTENT, names]
            for group in range(file.metadata.num_row_groups):
                rows = file.metadata.row_group(group).num_rows
                if is_read(first, first + rows):
                    for batch in file.iter_batches(_ROWS, [group], columns):
                        for values in batch.to_pylist():
                            image = f"{number}#{in_file}" if names is None else str(values[names])
                            yield Item(image, content=values[_CONTENT])
                            in_file += 1
                else:
                    yield from (None for _ in range(rows))
                    in_file += rows
                first += rows

    def _open(self, path: Path) -> Any:
        import pyarrow as pa
        import pyarrow.parquet as pq

        try:
            file = pq.ParquetFile(path)
        except (OSError, pa.ArrowException) as error:
            raise InputError(f"--input {self._place}: {path.name}: {error}. Write the file again.") from error
        kinds = {field.name: field.type for field in file.schema_arrow}
        found = kinds.get(_CONTENT)
        if found is None or not (pa.types.is_binary(found) or pa.types.is_large_binary(found)):
            raise InputError(
                f"--input {self._place}: {path.name} has columns {', '.join(kinds)}; expected {_CONTENT}, of encoded "
                "images (binary). Write the file with it."
            )
        return file


def _numbers(first: int, end: int, part_images: int) -> range:
    """The parts that rows [first, end) are of."""
    return range(first // part_images, -(-end // part_images))
