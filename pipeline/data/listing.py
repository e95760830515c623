"""What a source says that it holds, before any image is opened."""

import os
from dataclasses import dataclass, field
from pathlib import Path

from pipeline.data.problems import Problem


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

    place: the folder or the CSV file itself.
    """

    place: Path
    candidates: list[Candidate] = field(default_factory=list)
    labels: set[str] = field(default_factory=set)
    problems: list[Problem] = field(default_factory=list)


def shown(path: str) -> str:
    """`path` fit to be printed: a file's name may hold bytes that are not UTF-8, and control characters."""
    valid = os.fsencode(path).decode("utf-8", "backslashreplace")
    return "".join(char if char.isprintable() else char.encode("unicode_escape").decode() for char in valid)
