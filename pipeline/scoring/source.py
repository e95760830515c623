"""An input as parts: listed once into a file, so that memory does not grow with it, and its digest taken meanwhile."""

import hashlib
import json
from collections.abc import Callable, Iterator
from itertools import islice
from pathlib import Path
from typing import Protocol

from pipeline.scoring.items import IN_S3, Item, Part
from pipeline.scoring.listing import beside_csv, beside_key, list_bucket, list_csv, list_folder
from pipeline.scoring.parquet_input import ParquetInput
from slipway.errors import InputError


class Source(Protocol):
    """The images of an input, numbered from 0."""

    @property
    def digest(self) -> str:
        """Hex SHA-256 of what the images are called, and by what a changed one is known."""

    @property
    def images(self) -> int:
        """How many there are."""

    def parts(self, part_images: int, is_wanted: Callable[[int], bool]) -> Iterator[Part]:
        """Those of the parts of so many images whose number is wanted, in order."""


class Listed:
    """`Source`: a listing, written below `scratch`, a line an image."""

    def __init__(self, items: Iterator[Item], scratch: Path) -> None:
        self._file = scratch / "listing"
        digest, self.images = hashlib.sha256(), 0
        with self._file.open("w", encoding="ascii") as stream:
            for item in items:
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
    source = _in_s3(given, scratch) if given.startswith(IN_S3) else _here(given, scratch)
    if not source.images:
        raise InputError(f"--input {given}: no image in it; expected one at least. Name another one.")
    return source


def _here(given: str, scratch: Path) -> Source:
    path = Path(given).expanduser().absolute()
    suffix = path.suffix.lower()
    if suffix == ".parquet" and path.exists():
        files = sorted(path.rglob("*.parquet")) if path.is_dir() else [path]
        return ParquetInput(files, [str(file.stat().st_mtime_ns) for file in files], given)
    if path.is_dir():
        return Listed(list_folder(path), scratch)
    if path.is_file() and suffix == ".csv":
        return Listed(list_csv(path, given, beside_csv(path)), scratch)
    raise _no_input(given, "is neither a folder, nor a CSV or parquet file" if path.exists() else "does not exist")


def _in_s3(given: str, scratch: Path) -> Source:
    from serving.stores.s3_listing import ListedBucket

    name, _, key = given.removeprefix(IN_S3).partition("/")
    suffix = Path(key).suffix.lower()
    if suffix not in {".csv", ".parquet"}:
        prefix = key.strip("/")
        return Listed(list_bucket(name, f"{prefix}/" if prefix else ""), scratch)
    key = key.rstrip("/")
    bucket = ListedBucket(name)
    found = [each for each in bucket.objects(key) if each.key == key or each.key.startswith(f"{key}/")]
    found = [each for each in found if each.key.lower().endswith(suffix)]
    if not found:
        raise _no_input(given, "does not exist")
    files = [scratch / f"{number:06}{suffix}" for number in range(len(found))]
    for each, file in zip(found, files, strict=True):
        bucket.fetch(each, file)
    if suffix == ".csv":
        return Listed(list_csv(files[0], given, beside_key(name, key)), scratch)
    return ParquetInput(files, [each.tag for each in found], given)


def _no_input(given: str, fault: str) -> InputError:
    return InputError(
        f"--input {given}: {fault}; expected a folder of images, a CSV file with a column path, or parquet with a "
        "column image_bytes, here or in S3. Correct --input."
    )
