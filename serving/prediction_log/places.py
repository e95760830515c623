"""Where the files of the log lie, and what their names say."""

import re
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

from serving.prediction_log.schema import FEEDBACK, KINDS, RECORDS

FOLDER_MODE, FILE_MODE = 0o750, 0o640
_JOURNAL = re.compile(rf"([0-9a-f]{{16}}-\d{{6,}})\.({'|'.join(KINDS)})\.arrows", re.ASCII)
_ROTATED = re.compile(rf"({RECORDS}|{FEEDBACK})-(\d{{16}})-(\d{{16}})-([0-9a-f]{{16}}-\d{{6,}})\.parquet", re.ASCII)


@dataclass(frozen=True)
class Rotated:
    """A parquet file. first_us, last_us: the times of its first and last row, in microseconds since the epoch."""

    path: Path
    kind: str
    first_us: int
    last_us: int
    stem: str


def model_folder(log: Path, model: str) -> Path:
    """The folder of a model's records; its name stays in the log, whatever the model is called."""
    name = quote(model, safe="")
    return log / (f"%2E{name[1:]}" if name.startswith(".") else name)


def model_folders(log: Path) -> list[Path]:
    """The folders of all models that have records."""
    return sorted(path for path in entries(log) if path.is_dir() and not path.name.startswith("."))


def journal_path(folder: Path, stem: str, kind: str) -> Path:
    """Where a server appends what is not rotated yet; `stem` is its own."""
    return folder / f"{stem}.{kind}.arrows"


def rotated_path(folder: Path, kind: str, times_us: tuple[int, int], stem: str) -> Path:
    """Where the rows of such a journal are once they are rotated."""
    first_us, last_us = times_us
    return folder / f"{kind}-{first_us:016d}-{last_us:016d}-{stem}.parquet"


def journals(folder: Path) -> dict[str, dict[str, Path]]:
    """The journals of a model, by stem and by kind."""
    found: dict[str, dict[str, Path]] = {}
    for path in entries(folder):
        if match := _JOURNAL.fullmatch(path.name):
            found.setdefault(match[1], {})[match[2]] = path
    return found


def rotated(folder: Path, *kinds: str) -> list[Rotated]:
    """The rotated files of a model, of those kinds, the oldest first."""
    found = []
    for path in entries(folder):
        match = _ROTATED.fullmatch(path.name)
        if match and match[1] in kinds:
            found.append(Rotated(path, match[1], int(match[2]), int(match[3]), match[4]))
    return sorted(found, key=lambda file: (file.first_us, file.last_us, file.stem))


def size_bytes(log: Path) -> int:
    """Of everything in the folders of the models."""
    return sum(_size(path) for folder in model_folders(log) for path in entries(folder))


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except FileNotFoundError:  # somebody rotates, or removes what is old
        return 0


def entries(folder: Path) -> list[Path]:
    """What a folder holds; nothing if it is not there."""
    try:
        return list(folder.iterdir())
    except FileNotFoundError:
        return []
