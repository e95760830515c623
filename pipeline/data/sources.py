"""Where images come from: each kind of source is a function that lists its images; none of them opens an image."""

import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from pipeline.data.digits import write_digits
from pipeline.data.problems import Problem
from slipway.errors import InputError

_EXTENSIONS = (".bmp", ".gif", ".jfif", ".jpe", ".jpeg", ".jpg", ".png")
_EXPECTED_EXTENSIONS = ".jpg, .png, .bmp or .gif"
_CLUTTER = ("__MACOSX", "Thumbs.db", "desktop.ini")  # what operating systems leave in folders; hidden files too


@dataclass(frozen=True)
class Candidate:
    """An image as its source names it, not yet opened. `split` only if the source says it."""

    path: str
    file: Path
    label: str
    split: str | None = None


@dataclass(frozen=True)
class Listing:
    """What a source holds: images in no particular order, every class it names (an empty one too), and its faults.

    place: the folder or the CSV file itself.
    """

    place: Path
    candidates: list[Candidate] = field(default_factory=list)
    labels: set[str] = field(default_factory=set)
    problems: list[Problem] = field(default_factory=list)


def list_source(source: str, workdir: Path) -> Listing:
    """List `source`: a name of `_EMBEDDED`, a folder or a CSV file. Raises InputError if it is none of them."""
    from pipeline.data.manifest import list_manifest

    if source in _EMBEDDED:
        return list_folder(_EMBEDDED[source](workdir))
    path = Path(source).expanduser().absolute()
    expected = "expected 'digits', a folder with a subfolder per class, or a CSV file with columns path,label"
    if path.is_dir():
        return list_folder(path)
    if path.suffix.lower() == ".csv" and path.is_file():
        return list_manifest(path)
    fault = "is neither a folder nor a CSV file" if path.exists() else "does not exist"
    raise InputError(f"data.source: {source!r} {fault}; {expected}. Edit it or pass --data.")


def list_folder(folder: Path) -> Listing:
    """A subfolder per class, named by it; images in it at any depth. Hidden files and folders are passed over."""
    listing = Listing(folder)
    for entry in _entries(folder, listing):
        if entry.is_dir():
            listing.labels.add(entry.name)
            for file in _files_below(entry, listing):
                _add(file, folder, entry.name, listing)
        elif entry.suffix.lower() in _EXTENSIONS:
            fault = "lies in no class's folder; expected <class>/<image>."
            listing.problems.append(Problem(shown(entry.name), fault, skippable=True))
    return listing


def shown(text: str) -> str:
    """`text` fit to be printed: a file's name may hold bytes that are not UTF-8, and control characters."""
    valid = os.fsencode(text).decode("utf-8", "backslashreplace")
    return "".join(char if char.isprintable() else char.encode("unicode_escape").decode() for char in valid)


def _files_below(folder: Path, listing: Listing) -> Iterator[Path]:
    for entry in _entries(folder, listing):
        if entry.is_dir() and not entry.is_symlink():  # a link may lead back here
            yield from _files_below(entry, listing)
        else:
            yield entry


def _entries(folder: Path, listing: Listing) -> list[Path]:
    try:
        return [entry for entry in folder.iterdir() if entry.name not in _CLUTTER and not entry.name.startswith(".")]
    except OSError as error:
        fault = f"{error.strerror}; expected a folder that can be read. Change its permissions."
        listing.problems.append(Problem(shown(str(folder)), fault))
        return []


def _add(file: Path, folder: Path, label: str, listing: Listing) -> None:
    path = file.relative_to(folder).as_posix()
    if file.suffix.lower() not in _EXTENSIONS:
        fault = f"is no image by its name; expected {_EXPECTED_EXTENSIONS}."
        listing.problems.append(Problem(shown(path), fault, skippable=True))
    elif not file.name.isprintable():  # neither are bytes that are no UTF-8
        fault = "has a control character, or bytes that are not UTF-8, in its name; expected text."
        listing.problems.append(Problem(shown(path), fault, skippable=True))
    else:
        listing.candidates.append(Candidate(path, file, label))


_EMBEDDED: dict[str, Callable[[Path], Path]] = {"digits": write_digits}
