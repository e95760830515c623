"""The ledger for people: one row a change, oldest first, with the numbers that decided it."""

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from registry.ledger import Ledger, LedgerEntry

_COLUMNS = ("time", "action", "alias", "from", "to", "by", "origin", "gate", "reason")


@dataclass(frozen=True)
class GateNumbers:
    """A gate report in a line. None stands for a number that was not measured."""

    verdict: str  # passed, refused, forced (refused, and overridden), or none (no gate report)
    accuracy: float | None = None  # the candidate's, 0 to 1
    champion: int | None = None  # the version it was compared with
    champion_accuracy: float | None = None  # on the same images
    refused: tuple[str, ...] = ()  # the rules that did not hold

    def text(self) -> str:
        """In one cell: `passed 0.9888 against 0.9777`, or with the number of rules that refused behind it."""
        words = self.verdict if self.accuracy is None else f"{self.verdict} {self.accuracy:.4f}"
        if self.champion_accuracy is not None:
            words += f" against {self.champion_accuracy:.4f}"
        return f"{words}, rules refused: {len(self.refused)}" if self.refused else words


@dataclass(frozen=True)
class HistoryRow:
    """One entry of the ledger, as it is printed."""

    id: int
    time: str  # UTC, ISO 8601
    action: str
    alias: str
    from_version: int | None
    to_version: int | None  # None: nothing was put in its place
    actor: str
    origin: str  # command, ui, retrain, rollout, ...
    gate: GateNumbers
    reason: str
    digest: str

    def as_dict(self) -> Mapping[str, Any]:
        """The row as plain JSON values: `gate` is the verdict, and its numbers are beside it."""
        document = dataclasses.asdict(self)
        numbers = document.pop("gate")
        return document | {"gate": numbers.pop("verdict"), "numbers": numbers | {"refused": list(self.gate.refused)}}


def history(ledger: Ledger, name: str) -> tuple[HistoryRow, ...]:
    """Every entry on a model, oldest first."""
    return tuple(to_row(entry) for entry in ledger.entries(name))


def history_table(rows: Sequence[HistoryRow]) -> str:
    """`rows` as aligned columns, for a terminal."""
    cells = [_COLUMNS, *(_cells(row) for row in rows)]
    widths = [max(len(line[column]) for line in cells) for column in range(len(_COLUMNS))]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip() for line in cells
    )


def to_row(entry: LedgerEntry) -> HistoryRow:
    """An entry as it is printed."""
    return HistoryRow(
        id=entry.id,
        time=utc(entry.time_s),
        action=entry.action,
        alias=entry.alias,
        from_version=entry.from_version,
        to_version=entry.to_version,
        actor=entry.actor,
        origin=entry.origin,
        gate=gate_numbers(entry.gate_report, forced=entry.forced),
        reason=entry.reason,
        digest=entry.digest,
    )


def gate_numbers(report: Mapping[str, Any] | None, *, forced: bool = False) -> GateNumbers:
    """The numbers in what `GateReport.as_dict` made; verdict `none` without a report, or with another document."""
    if report is None or not {"rules", "passed", "against"} <= report.keys():
        return GateNumbers("forced" if forced else "none")
    measured = {rule["rule"]: rule["measured"] for rule in report["rules"]}
    accuracy, change = measured.get("accuracy"), measured.get("accuracy change")
    return GateNumbers(
        verdict="forced" if forced else "passed" if report["passed"] else "refused",
        accuracy=accuracy,
        champion=report["against"],
        champion_accuracy=None if accuracy is None or change is None else accuracy - change,
        refused=tuple(rule["rule"] for rule in report["rules"] if not rule["passed"]),
    )


def utc(time_s: float) -> str:
    """Seconds since the epoch as `2026-11-22T15:18:16+00:00`."""
    return datetime.fromtimestamp(time_s, UTC).isoformat(timespec="seconds")


def _cells(row: HistoryRow) -> tuple[str, ...]:
    versions = ("-" if each is None else str(each) for each in (row.from_version, row.to_version))
    return (
        row.time,
        row.action,
        row.alias,
        *versions,
        row.actor,
        row.origin,
        row.gate.text(),
        " ".join(row.reason.split()),
    )
