"""Image files: finding them, and asking a served model about them in requests of a bounded size."""

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from serving.client.answers import Answer, Client, Prediction, RejectedError
from slipway.errors import InputError

SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp", ".gif")
FILES_A_REQUEST = 16
BYTES_A_REQUEST = 8 * 1024 * 1024  # base64 makes 11 MB of it


def collect_images(paths: Sequence[Path]) -> list[Path]:
    """Return the files named by `paths`, each once: a file as it is, a folder's images at any depth, sorted.

    A folder's images are its visible files whose names end in .jpg, .jpeg, .png, .bmp or .gif, in either case.
    Raises InputError that names every path that is missing, or a folder without an image.
    """
    missing = [str(path) for path in paths if not _is_there(path)]
    if missing:
        raise InputError(
            f"no such file or folder: {', '.join(missing)}; expected images or folders of them. Check the paths."
        )
    found = (file for path in paths for file in (_images_below(path) if path.is_dir() else [path]))
    return list(dict.fromkeys(found))


def predict_files(client: Client, files: Iterable[Path]) -> Iterator[Prediction]:
    """Ask `client` about each file, in order, at most 16 files or 8 MiB a request, in bounded memory.

    Raises what `Client.predict` raises; an image that the server refuses is InputError naming its file.
    """
    for batch in _batches(files):
        for file, answer in zip((file for file, _ in batch), _ask(client, batch), strict=True):
            yield Prediction(
                str(file), answer.label, answer.class_id, answer.probability, answer.output, client.name, answer.version
            )


def _is_there(path: Path) -> bool:
    try:
        return path.exists()
    except OSError:  # a name too long, a folder that we may not enter
        return False


def _images_below(folder: Path) -> list[Path]:
    images = sorted(
        file
        for file in folder.rglob("*")
        if file.suffix.lower() in SUFFIXES
        and not any(part.startswith(".") for part in file.relative_to(folder).parts)
        and file.is_file()
    )
    if not images:
        raise InputError(
            f"{folder}: no image in it; expected files ending in {', '.join(SUFFIXES)}. Name another folder."
        )
    return images


def _batches(files: Iterable[Path]) -> Iterator[list[tuple[Path, bytes]]]:
    batch: list[tuple[Path, bytes]] = []
    size_bytes = 0
    for file in files:
        content = _read(file)
        if batch and (len(batch) == FILES_A_REQUEST or size_bytes + len(content) > BYTES_A_REQUEST):
            yield batch
            batch, size_bytes = [], 0
        batch.append((file, content))
        size_bytes += len(content)
    if batch:
        yield batch


def _read(file: Path) -> bytes:
    try:
        return file.read_bytes()
    except OSError as error:
        raise InputError(f"{file}: {error.strerror}; expected an image that can be read. Check the path.") from error


def _ask(client: Client, batch: Sequence[tuple[Path, bytes]]) -> list[Answer]:
    if len(batch) > 1:
        try:
            return client.predict([content for _, content in batch])
        except RejectedError:
            # The server refuses a whole request for one bad image and does not say which: ask one by one.
            return [_ask_one(client, file, content) for file, content in batch]
    return [_ask_one(client, *batch[0])]


def _ask_one(client: Client, file: Path, content: bytes) -> Answer:
    try:
        return client.predict([content])[0]
    except RejectedError as error:
        raise InputError(
            f"{file}: {error}; expected a whole JPEG, PNG, BMP or GIF, within the server's limits. "
            "Leave it out or mend it."
        ) from error
