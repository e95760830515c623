"""What a source says that it holds, before any image is opened."""

import os
from dataclasses import dataclass, field
from pathlib import Path

from pipeline.data.problems import Problem
from slipway.errors import InputError


@dataclass(frozen=True)
class Candidate:
    """An image as its source names it. `split` only if the source says it."""

    path: str
    file: Path
    label: str
    split: str | None = None


@dataclass(frozen=True)
class Listing:
    """A source's images in no particular order, every class that it names (an empty one too), and its faults.

    place: the folder, the CSV file itself, or their address.
    """

    place: str
    candidates: list[Candidate] = field(default_factory=list)
    labels: set[str] = field(default_factory=set)
    problems: list[Problem] = field(default_factory=list)


def is_in_s3(source: str) -> bool:
    """Whether a source is an address in S3."""
    return source.startswith("s3://")


def no_source(source: str, fault: str) -> InputError:
    """The refusal of a source that names no images."""
    return InputError(
        f"data.source: {source!r} {fault}; expected 'digits', a folder with a subfolder per class, or a CSV file with "
        "the columns path,label, here or in S3 (s3://BUCKET/PREFIX). Edit it or pass --data."
    )


def shown(path: str) -> str:
    """`path` fit to be printed: a file's name may hold bytes that are not UTF-8, and control characters."""
    valid = os.fsencode(path).decode("utf-8", "backslashreplace")
    return "".join(char if char.isprintable() else char.encode("unicode_escape").decode() for char in valid)
