"""True labels from a file, for the servers that gave the answers: `request_id,label`, one line an image."""

import csv
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from serving.client.observations import TrueLabel, send_feedback
from serving.request_ids import parse_request_id
from slipway.errors import InputError

_COLUMNS = ["request_id", "label"]
_LISTED = 10


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
            found.setdefault(row[0], []).append(row[1])
    if problems:
        raise InputError(f"{file}: {'; '.join(problems)}. Mend or remove these lines; none was sent.")
    return tuple(TrueLabel(request_id, tuple(labels)) for request_id, labels in found.items())


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
