"""An input as parts: listed once into a file, so that memory does not grow with it, and its digest taken meanwhile."""

import hashlib
import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import Protocol

from pipeline.scoring.items import IN_S3, Item, Part
from pipeline.scoring.listing import beside_csv, beside_key, list_bucket, list_csv, list_folder
from pipeline.scoring.parquet_input import ParquetFile, ParquetInput
from pipeline.scoring.remote import Buckets
from pipeline.scoring.scratch import disk_errors
from slipway.errors import InputError

_MOST_WITNESSES = 30


class Source(Protocol):
    """The images of an input, numbered from 0."""

    @property
    def digest(self) -> str:
        """Hex SHA-256 of what the images are called, and by what a changed one is known."""

    @property
    def images(self) -> int:
        """How many there are."""

    @property
    def witnesses(self) -> Sequence[Item]:
        """Some of those that lie in S3 each for itself, from all over the input."""

    def parts(self, part_images: int, is_wanted: Callable[[int], bool]) -> Iterator[Part]:
        """Those of the parts of so many images whose number is wanted, in order."""


class Listed:
    """`Source`: a listing, written below `scratch`, a line an image."""

    def __init__(self, items: Iterator[Item], scratch: Path) -> None:
        self._file = scratch / "listing"
        digest, self.images = hashlib.sha256(), 0
        self.witnesses: list[Item] = []
        every = 1
        with disk_errors(self._file), self._file.open("w", encoding="ascii") as stream:
            for item in items:
                if self.images % every == 0 and item.place.startswith(IN_S3):
                    self.witnesses.append(item)
                if len(self.witnesses) > _MOST_WITNESSES:
                    self.witnesses, every = self.witnesses[::2], 2 * every
                digest.update(json.dumps([item.image, item.tag, item.size_bytes]).encode() + b"\n")
                stream.write(json.dumps([item.image, item.place, item.tag, item.size_bytes]) + "\n")
                self.images += 1
        self.digest = digest.hexdigest()

    def parts(self, part_images: int, is_wanted: Callable[[int], bool]) -> Iterator[Part]:
        """See Source."""
        with self._file.open(encoding="ascii") as stream:
            for number, lines in enumerate(iter(lambda: list(islice(stream, part_images)), [])):
                if is_wanted(number):
                    yield Part(number, number * part_images, [Item(*json.loads(line)) for line in lines])


def open_source(given: str, scratch: Path) -> Source:
    """The images of `given`: a folder, a CSV file or parquet, here or in S3. InputError if there is none.

    scratch: a directory for what has to be fetched or written down.
    """
    if given.startswith(IN_S3):
        source = _in_s3(given, scratch)
    else:
        try:
            source = _here(given, scratch)
        except OSError as error:
            raise _no_input(given, str(error.strerror or error)) from error
    if not source.images:
        raise InputError(f"--input {given}: no image in it; expected one at least. Name another one.")
    return source


def _here(given: str, scratch: Path) -> Source:
    path = Path(given).expanduser().absolute()
    suffix = path.suffix.lower()
    if suffix == ".parquet" and path.exists():
        below = (
            file
            for file in sorted(path.rglob("*.parquet"))
            if file.is_file() and _is_data(file.relative_to(path).parts)
        )
        found = [(file, file.stat()) for file in (below if path.is_dir() else [path])]
        files = [ParquetFile(str(file), str(stat.st_mtime_ns), stat.st_size) for file, stat in found]
        return ParquetInput(files, Buckets())
    if path.is_dir():
        return Listed(list_folder(path), scratch)
    if path.is_file() and suffix == ".csv":
        return Listed(list_csv(path, given, beside_csv(path)), scratch)
    raise _no_input(given, "is neither a folder, nor a CSV or parquet file" if path.exists() else "does not exist")


def _in_s3(given: str, scratch: Path) -> Source:
    name, _, key = given.removeprefix(IN_S3).partition("/")
    suffix = Path(key).suffix.lower()
    if suffix not in {".csv", ".parquet"}:
        prefix = key.strip("/")
        return Listed(list_bucket(name, f"{prefix}/" if prefix else ""), scratch)
    key = key.rstrip("/")
    buckets = Buckets()
    bucket = buckets.open(name)
    found = [each for each in bucket.objects(key) if each.key == key or each.key.startswith(f"{key}/")]
    found = [each for each in found if each.key.lower().endswith(suffix)]
    if not found:
        raise _no_input(given, "does not exist")
    if suffix == ".csv":
        file = scratch / "list.csv"
        with disk_errors(scratch):
            bucket.fetch(found[0], file)
        return Listed(list_csv(file, given, beside_key(name, key)), scratch)
    found = [each for each in found if _is_data(each.key.removeprefix(key).split("/"))]
    files = [ParquetFile(f"{IN_S3}{name}/{each.key}", each.tag, each.size_bytes) for each in found]
    return ParquetInput(files, buckets)


def _is_data(parts: Iterable[str]) -> bool:
    """Whether whoever reads folders of parquet takes a file of that path below one."""
    return not any(part.startswith(("_", ".")) for part in parts)


def _no_input(given: str, fault: str) -> InputError:
    return InputError(
        f"--input {given}: {fault}; expected a folder of images, a CSV file with a column path, or parquet with a "
        "column image_bytes, here or in S3. Correct --input."
    )
