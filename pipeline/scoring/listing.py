"""The images of a folder, a CSV file or a bucket, one by one, in the same order every time. None is opened."""

import csv
import os
import posixpath
from collections.abc import Callable, Iterator
from pathlib import Path, PurePosixPath

from pipeline.data.folder import EXTENSIONS, is_passed_over
from pipeline.data.listing import shown
from pipeline.scoring.items import IN_S3, Item
from slipway.errors import InputError, UnavailableError

_COLUMN = "path"


def list_folder(folder: Path) -> Iterator[Item]:
    """The images at any depth, by their names' endings; hidden files, and links to folders, are passed over.

    Of a folder, and of each that it lies in, the names are held, sorted.
    """
    open_folders = [_entries(folder, "")]
    while open_folders:
        found = next(open_folders[-1], None)
        if found is None:
            open_folders.pop()
            continue
        path, is_folder = found
        if is_folder:
            open_folders.append(_entries(folder, f"{path}/"))
        elif PurePosixPath(path).suffix.lower() in EXTENSIONS:
            yield file_item(path, folder / path)


def _entries(folder: Path, below: str) -> Iterator[tuple[str, bool]]:
    """Paths of what lies in a folder below `folder`, and whether each is a folder."""
    try:
        entries = sorted(os.scandir(folder / below), key=lambda entry: entry.name)
    except OSError as error:
        raise UnavailableError(
            f"{folder / below}: {error.strerror}; expected a folder that can be read. Change its permissions, then run "
            "the same command again."
        ) from error
    for entry in entries:
        is_folder = entry.is_dir(follow_symlinks=False)
        if not is_passed_over(entry.name) and (is_folder or not _links_to_folder(entry)):
            yield f"{below}{entry.name}", is_folder


def _links_to_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:  # a link to itself: as an image, it has an error
        return False


def file_item(image: str, file: Path) -> Item:
    """A file that may not be there: what is wrong with it is found when it is read."""
    try:
        found = file.stat()
    except (OSError, ValueError):  # a NUL is a ValueError
        return Item(shown(image), str(file))
    return Item(shown(image), str(file), str(found.st_mtime_ns), found.st_size)


def list_csv(file: Path, place: str, locate: Callable[[str], Item]) -> Iterator[Item]:
    """A row an image, by its column `path`; other columns are not looked at. InputError for what is no such table.

    place: where the file came from. locate: the image that a row names.
    """
    try:
        with file.open(encoding="utf-8-sig", newline="") as stream:
            rows = csv.DictReader(stream)
            if _COLUMN not in (rows.fieldnames or ()):
                raise InputError(
                    f"{place}: columns {', '.join(rows.fieldnames or ()) or 'none'}; expected a column {_COLUMN!r} "
                    "with the images' paths. Give the file a line of headings with it."
                )
            for row in rows:
                yield locate(row[_COLUMN] or "")
    except (csv.Error, UnicodeDecodeError) as error:
        raise InputError(f"{place}: {error}; expected a CSV file in UTF-8. Write it again.") from error
    except OSError as error:
        raise InputError(f"{place}: {error.strerror}; expected a CSV file that can be read. Mend that.") from error


def beside_csv(file: Path) -> Callable[[str], Item]:
    """Where images lie that a CSV file on this machine names: relative to its folder, or anywhere in S3."""

    def locate(path: str) -> Item:
        return Item(path, path) if path.startswith(IN_S3) else file_item(path, file.parent / path)

    return locate


def beside_key(bucket: str, key: str) -> Callable[[str], Item]:
    """The same for a CSV file that is the object `key`."""

    def locate(path: str) -> Item:
        if path.startswith(IN_S3):
            return Item(path, path)
        return Item(path, f"{IN_S3}{bucket}/{posixpath.normpath(posixpath.join(posixpath.dirname(key), path))}")

    return locate


def list_bucket(bucket: str, prefix: str) -> Iterator[Item]:
    """The images below a prefix, by their keys' endings, as the server lists them."""
    from serving.stores.s3_listing import ListedBucket

    for each in ListedBucket(bucket).objects(prefix):
        path = each.key.removeprefix(prefix)
        if PurePosixPath(path).suffix.lower() in EXTENSIONS and not any(map(is_passed_over, path.split("/"))):
            yield Item(shown(path), f"{IN_S3}{bucket}/{each.key}", each.tag, each.size_bytes)
