"""A folder as a source: a subfolder per class, named by it, with images in it at any depth."""

from collections.abc import Iterator
from pathlib import Path

from pipeline.data.listing import Candidate, Listing, shown
from pipeline.data.problems import Problem

_EXTENSIONS = (".bmp", ".gif", ".jfif", ".jpe", ".jpeg", ".jpg", ".png")
_CLUTTER = ("__MACOSX", "Thumbs.db", "desktop.ini")  # what operating systems leave in folders; hidden files too


def list_folder(folder: Path) -> Listing:
    """List the images below `folder`.

    Hidden files and folders are passed over, and files beside the classes' folders unless they are images. These, and
    whatever in a class's folder is no image by its name, are problems.
    """
    listing = Listing(folder)
    for entry in _entries(folder, listing):
        if entry.is_dir():
            listing.labels.add(entry.name)
            for file in _files_below(entry, listing):
                _add(file, entry.name, listing)
        elif entry.suffix.lower() in _EXTENSIONS:
            _refuse(entry, "lies in no class's folder; expected <class>/<image>.", listing)
    return listing


def _files_below(folder: Path, listing: Listing) -> Iterator[Path]:
    for entry in _entries(folder, listing):
        if not entry.is_dir():
            yield entry
        elif entry.is_symlink():
            _refuse(entry, "is a link to a folder, which may lead in a circle; expected a folder or images.", listing)
        else:
            yield from _files_below(entry, listing)


def _entries(folder: Path, listing: Listing) -> list[Path]:
    try:
        return [entry for entry in folder.iterdir() if entry.name not in _CLUTTER and not entry.name.startswith(".")]
    except OSError as error:
        fault = f"{error.strerror}; expected a folder that can be read. Change its permissions."
        listing.problems.append(Problem(shown(str(folder)), fault))
        return []


def _add(file: Path, label: str, listing: Listing) -> None:
    if file.suffix.lower() not in _EXTENSIONS:
        _refuse(file, "is no image by its name; expected .jpg, .png, .bmp or .gif.", listing)
    elif not file.name.isprintable():  # neither are bytes that are not UTF-8
        _refuse(file, "has a name with a control character or bytes that are not UTF-8; expected text.", listing)
    else:
        listing.candidates.append(Candidate(file.relative_to(listing.place).as_posix(), file, label))


def _refuse(path: Path, fault: str, listing: Listing) -> None:
    place = shown(path.relative_to(listing.place).as_posix())
    listing.problems.append(Problem(place, fault, skippable=True))
