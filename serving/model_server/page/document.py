"""What the page shows, as `GET /v1/page` answers it: the server's own state, and the facts that `--page_file` holds."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from serving.model_server.json_response import listed_model
from serving.model_server.lifecycle import ServedModel
from serving.model_server.models import Models
from serving.model_server.version import Version
from serving.page_file import Facts, parse_page_file
from slipway.errors import InputError

_LARGEST_BYTES = 16 * 2**20
_MOST_CLASSES = 2000  # whose names a browser is sent
_NOT_TOLD = "The server was started without --page_file: who made what live is not known here."


class PageFile:
    """The file at `path`, read anew when somebody asks and it has changed. Any thread may ask.

    why_none: what is said where there is no path.
    """

    def __init__(self, path: Path | None, why_none: str = _NOT_TOLD) -> None:
        self._path = path
        self._why_none = why_none
        self._seen: tuple[int, int, int] | None = None
        self._found: tuple[str | None, Mapping[str, Facts], str] = (None, {}, "")

    def read(self) -> tuple[str | None, Mapping[str, Facts], str]:
        """MLflow's address, each model's facts, and what is missing, "" if nothing is; never an error."""
        if self._path is None:
            return None, {}, self._why_none
        try:
            status = self._path.stat()
            seen = (status.st_ino, status.st_mtime_ns, status.st_size)
            if seen != self._seen:
                self._found = _read(self._path, status.st_size)
                self._seen = seen
        except FileNotFoundError:
            return None, {}, f"{self._path} is not there yet: `slipway reconcile` writes it at its next pass."
        except OSError as error:
            return None, {}, f"{self._path} cannot be read ({error.strerror}). Check its permissions."
        return self._found


def page_document(models: Models, file: PageFile) -> bytes:
    """JSON: `mlflow`, `missing`, and `models`, each as GET /v1/models has it, with `classes`, `traffic` and `facts`."""
    mlflow, facts, missing = file.read()
    shown = [_shown(model, models, facts.get(model.name)) for model in models.served()]
    document = {"mlflow": mlflow, "missing": missing, "models": shown}
    return json.dumps(document, separators=(",", ":"), allow_nan=False).encode()


def _shown(model: ServedModel, models: Models, facts: Facts | None) -> dict[str, Any]:
    traffic = models.traffic(model.name)
    return listed_model(model) | {
        "classes": {str(version.number): _classes(version) for version in model.versions() if version.loaded},
        "traffic": {"stable": traffic.stable, "canary": traffic.canary, "shadow": traffic.shadow},
        "facts": facts,
    }


def _classes(version: Version) -> tuple[str, ...]:
    """The names of a version's classes, in their order; none where it is no servable of ours, or has too many."""
    labels = version.tally.identity.labels  # of what has been loaded: its directory may be another one's by now
    return labels if len(labels) <= _MOST_CLASSES else ()


def _read(path: Path, size_bytes: int) -> tuple[str | None, Mapping[str, Facts], str]:
    if size_bytes > _LARGEST_BYTES:
        return None, {}, f"{path} has {size_bytes} bytes; expected at most {_LARGEST_BYTES}. Remove it."
    try:
        mlflow, models = parse_page_file(path.read_bytes(), str(path))
    except InputError as error:
        return None, {}, str(error)
    return mlflow, models, ""
