"""Parquet that holds the encoded images themselves."""

import hashlib
import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

from pipeline.scoring.items import Part, Rows
from pipeline.scoring.remote import Buckets
from pipeline.scoring.tables import Tables

_READ_AGAIN = 4  # parts' rows at most that are read for the rows of one


@dataclass(frozen=True)
class ParquetFile:
    """place: a path, or s3://BUCKET/KEY. tag: another one is another content."""

    place: str
    tag: str
    size_bytes: int


class ParquetInput:
    """`Source`: files with a column `image_bytes`, and perhaps one that names the image: `image`, `path` or `id`.

    Where groups of rows are small, whoever scores a part reads its groups. Of a large one each part would need all that
    is before it, so the images are read here, once.
    """

    witnesses = ()

    def __init__(self, files: Sequence[ParquetFile], buckets: Buckets) -> None:
        self._files, self._tables = files, Tables(buckets)
        self._groups = [self._tables.groups(file.place, file.tag, file.size_bytes) for file in files]
        self.images = sum(map(sum, self._groups))
        facts = [[file.tag for file in files], [file.size_bytes for file in files], list(map(sum, self._groups))]
        self.digest = hashlib.sha256(json.dumps(facts).encode()).hexdigest()

    def parts(self, part_images: int, is_wanted: Callable[[int], bool]) -> Iterator[Part]:
        """See Source. Groups of rows of which nothing is wanted are not read."""
        largest = max(max(groups, default=0) for groups in self._groups)
        for part in self._parts(part_images):
            if is_wanted(part.number):
                yield part if largest <= _READ_AGAIN * part_images else self._read(part)

    def _read(self, part: Part) -> Part:
        return replace(part, items=[item for rows in part.rows for item in self._tables.items(rows)], rows=())

    def _parts(self, part_images: int) -> Iterator[Part]:
        pending: list[Rows] = []
        row = 0
        for rows in self._all():
            left = rows
            while left.count:
                taken = min(left.count, part_images - row % part_images)
                pending.append(replace(left, count=taken))
                left = replace(
                    left, first=left.first + taken, count=left.count - taken, names_from=left.names_from + taken
                )
                row += taken
                if row % part_images == 0 or row == self.images:
                    number = (row - 1) // part_images
                    yield Part(number, number * part_images, rows=pending)
                    pending = []

    def _all(self) -> Iterator[Rows]:
        for number, (file, groups) in enumerate(zip(self._files, self._groups, strict=True)):
            in_file = 0
            for group, count in enumerate(groups):
                yield Rows(file.place, file.tag, file.size_bytes, group, 0, count, f"{number}#", in_file)
                in_file += count
