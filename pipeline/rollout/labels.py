"""True labels from a file, for the servers that gave the answers: `request_id,label`, one line an image."""

import csv
import json
import re
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path

from serving.client.observations import TrueLabel, send_feedback
from serving.request_ids import parse_request_id
from serving.servable.layout import LABELS, published_path
from serving.stores import open_store
from slipway.errors import InputError, IntegrityError, NotFoundError

_COLUMNS = ["request_id", "label"]
_LISTED = 10
_CLASS_ID = re.compile("[0-9]{1,18}")

Names = Callable[[int], Collection[str] | None]  # of the classes of a version, by its number; None: nobody knows


@dataclass(frozen=True)
class Sent:
    """attached: answers that got their labels, over all servers. unknown: ids that no server remembers."""

    attached: int
    unknown: tuple[str, ...]

    def text(self) -> str:
        """One line."""
        line = f"labels: {self.attached} attached"
        if self.unknown:
            more = ", ..." if len(self.unknown) > _LISTED else ""
            line += f"; {len(self.unknown)} ids that no server remembers: {', '.join(self.unknown[:_LISTED])}{more}"
        return line


def read_labels(file: Path) -> tuple[TrueLabel, ...]:
    """The labels of a CSV file; lines of the same id are a request of several images, in order.

    InputError lists every line that is wrong, at once.
    """
    try:
        with file.open(newline="", encoding="utf-8-sig") as lines:
            rows = list(csv.reader(lines))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        reason = error.strerror if isinstance(error, OSError) else str(error)
        raise InputError(f"--labels {file}: {reason}; expected a CSV file of request_id,label. Mend it.") from error
    if not rows or rows[0] != _COLUMNS:
        raise InputError(f"{file}:1: expected the header request_id,label. Put it above the lines.")
    found: dict[str, list[str]] = {}
    problems = []
    for number, row in enumerate(rows[1:], start=2):
        if not row:
            continue
        problem = _problem(row)
        if problem:
            problems.append(f"line {number}: {problem}")
        else:
            found.setdefault(row[0], []).append(row[1].strip())
    if problems:
        raise InputError(f"{file}: {'; '.join(problems)}. Mend or remove these lines; none was sent.")
    return tuple(TrueLabel(request_id, tuple(labels)) for request_id, labels in found.items())


def published_names(base: str, name: str) -> Names:
    """The names of classes of the versions in the base path; a version that has none has ids alone."""

    @cache
    def names(version: int) -> Collection[str] | None:
        try:
            with open_store(base).directory(name, version, lambda path: path == LABELS) as folder:
                file = folder / published_path(LABELS)
                return frozenset(map(str, json.loads(file.read_bytes()))) if file.is_file() else frozenset()
        except NotFoundError:
            return None
        except (ValueError, TypeError, RecursionError) as error:
            raise IntegrityError(
                f"{base}: {name} version {version}: {LABELS} is no list of classes ({error}). Publish the version "
                "again."
            ) from error

    return names


def as_sent(labels: Sequence[TrueLabel], names: Names) -> tuple[TrueLabel, ...]:
    """`labels` with decimal numbers as ids of classes, where the version that answered has no class of that name.

    Where nobody knows its names they stay texts: a server refuses what is no name.
    """
    return tuple(replace(each, labels=tuple(_by_id(label, each, names) for label in each.labels)) for each in labels)


def send_labels(addresses: Sequence[str], labels: Sequence[TrueLabel]) -> Sent:
    """Tell every server; each takes those that it answered."""
    attached = 0
    unknown = [label.request_id for label in labels]
    for address in addresses:
        answer = send_feedback(address, labels)
        attached += answer.attached
        here = set(answer.unknown)
        unknown = [each for each in unknown if each in here]
    return Sent(attached, tuple(unknown))


def _problem(row: list[str]) -> str:
    if len(row) != 2:
        return f"{len(row)} values, expected 2"
    if not row[1].strip():
        return "no label"
    try:
        parse_request_id(row[0])
    except InputError as error:
        return str(error).rstrip(".")
    return ""


def _by_id(label: str | int, item: TrueLabel, names: Names) -> str | int:
    if isinstance(label, int) or not _CLASS_ID.fullmatch(label):
        return label
    known = names(parse_request_id(item.request_id).version)
    return label if known is None or label in known else int(label)
