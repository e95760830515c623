"""Who answered: what an answer says of itself in headers and metadata, and what a version directory says of itself."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import NamedTuple
from urllib.parse import quote

from serving.request_ids import NO_DIGEST
from serving.servable.layout import LABELS, MANIFEST, published_path
from slipway.files import sha256_file

Pairs = list[tuple[str, str]]


@dataclass(frozen=True)
class Identity:
    """A version's servable.

    digest: the sha256 of its manifest, or "none". labels: the classes' names in the order of their ids, if it has any.
    """

    digest: str = NO_DIGEST
    labels: tuple[str, ...] = ()

    @cached_property
    def classes(self) -> Mapping[str, int]:
        """Each class's id by its name."""
        return {label: index for index, label in enumerate(self.labels)}


def read_identity(version_directory: Path) -> Identity:
    """The identity of the servable in a version directory, whose files were verified; one of other make has none."""
    manifest, labels = version_directory / published_path(MANIFEST), version_directory / published_path(LABELS)
    if not manifest.exists():
        return Identity()
    return Identity(sha256_file(manifest), tuple(json.loads(labels.read_bytes())) if labels.exists() else ())


class Served(NamedTuple):
    """What gave an answer. label: the one that the version bore; "" for none."""

    model: str
    version: int
    variant: str
    digest: str
    label: str = ""


NOBODY = Served("none", 0, "none", NO_DIGEST)


def identity_pairs(served: Served, request_id: str) -> Pairs:
    """The five names and values that an answer to a prediction carries."""
    return [
        ("x-slipway-model", _printable(served.model)),
        ("x-slipway-version", str(served.version)),
        ("x-slipway-variant", _printable(served.variant)),
        ("x-slipway-digest", served.digest),
        ("x-slipway-request-id", request_id),
    ]


def _printable(name: str) -> str:
    """A name as a header may have it: as it is, or in percent-encoding."""
    return name if name.isascii() and name.isprintable() else quote(name)
