"""Version directories below a base path, and what tells one apart from another of the same number."""

import os
from dataclasses import dataclass
from pathlib import Path

from serving.model_server.runtimes import RUNTIMES
from serving.stores import signature_file

_INT64 = range(2**63)
_TELLING = ("", "variables", "variables/variables.index")
_MODEL_FILES = (".bin", *(Path(row.model_file).suffix for row in RUNTIMES.values()))


@dataclass(frozen=True)
class VersionDirectory:
    """A directory whose name is a version's number. `identity` changes when it, or its model, is replaced."""

    path: Path
    identity: tuple[tuple[str, int, int, int], ...]


def find_versions(base_path: Path) -> dict[int, VersionDirectory]:
    """The version directories below `base_path`, by number; OSError if it cannot be listed.

    As TensorFlow Serving has it, any directory whose name is a number counts, complete or not.
    """
    versions: dict[int, VersionDirectory] = {}
    with os.scandir(base_path) as entries:
        for entry in entries:
            if entry.name.isascii() and entry.name.isdigit() and int(entry.name) in _INT64 and entry.is_dir():
                path = Path(entry.path)
                versions[int(entry.name)] = VersionDirectory(path, _identity(path))
    return versions


def _identity(path: Path) -> tuple[tuple[str, int, int, int], ...]:
    telling = []
    # Beside the directory: what was refused for its signature is loaded once it has another one.
    signature = path.with_name(signature_file(int(path.name)))
    for name in (*_TELLING, *_model_files(path), str(signature)):
        try:
            status = (path / name).stat()
        except OSError:
            telling.append((name, 0, 0, 0))
        else:
            telling.append((name, status.st_ino, status.st_mtime_ns, status.st_size))
    return tuple(telling)


def _model_files(path: Path) -> list[str]:
    try:
        with os.scandir(path) as entries:
            return sorted(entry.name for entry in entries if entry.name.endswith(_MODEL_FILES))
    except OSError:
        return []
