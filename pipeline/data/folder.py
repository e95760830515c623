"""A folder as a source: a subfolder per class, named by it, with images in it at any depth."""

from collections.abc import Iterator
from pathlib import Path, PurePosixPath

from pipeline.data.listing import Candidate, Listing, shown
from pipeline.data.problems import Problem

EXTENSIONS = (".bmp", ".gif", ".jfif", ".jpe", ".jpeg", ".jpg", ".png")
_CLUTTER = ("__MACOSX", "Thumbs.db", "desktop.ini")  # what operating systems leave in folders; hidden files too


def list_folder(folder: Path) -> Listing:
    """List the images below `folder`.

    Hidden files and folders are passed over, and files beside the classes' folders unless they are images. These, and
    whatever in a class's folder is no image by its name, are problems.
    """
    listing = Listing(str(folder))
    for entry in _entries(folder, listing):
        if entry.is_dir():
            listing.labels.add(entry.name)
            for file in _files_below(entry, listing):
                add_file(file.relative_to(folder).as_posix(), file, listing)
        else:
            add_file(entry.name, entry, listing)
    return listing


def is_passed_over(name: str) -> bool:
    """Whether a file or folder of that name is left out, with all that is in it."""
    return name in _CLUTTER or name.startswith(".")


def add_file(path: str, file: Path, listing: Listing) -> None:
    """Take the file `path`, relative to the source and of the class that its first part names, into the listing."""
    label, inside, _ = path.partition("/")
    name = PurePosixPath(path)
    is_image = name.suffix.lower() in EXTENSIONS
    if not inside:
        if is_image:
            refuse(path, "lies in no class's folder; expected <class>/<image>.", listing)
    elif not is_image:
        refuse(path, "is no image by its name; expected .jpg, .png, .bmp or .gif.", listing)
    elif not name.name.isprintable():  # neither are bytes that are not UTF-8
        refuse(path, "has a name with a control character or bytes that are not UTF-8; expected text.", listing)
    else:
        listing.candidates.append(Candidate(path, file, label))


def refuse(path: str, fault: str, listing: Listing) -> None:
    """Write down that a file cannot be used, without which the dataset still holds."""
    listing.problems.append(Problem(shown(path), fault, skippable=True))


def _files_below(folder: Path, listing: Listing) -> Iterator[Path]:
    for entry in _entries(folder, listing):
        if not entry.is_dir():
            yield entry
        elif entry.is_symlink():
            fault = "is a link to a folder, which may lead in a circle; expected a folder or images."
            refuse(entry.relative_to(listing.place).as_posix(), fault, listing)
        else:
            yield from _files_below(entry, listing)


def _entries(folder: Path, listing: Listing) -> list[Path]:
    try:
        return [entry for entry in folder.iterdir() if not is_passed_over(entry.name)]
    except OSError as error:
        fault = f"{error.strerror}; expected a folder that can be read. Change its permissions."
        listing.problems.append(Problem(shown(str(folder)), fault))
        return []
