"""The ledger for people: one row a change, oldest first."""

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from registry.ledger import Ledger, LedgerEntry


@dataclass(frozen=True)
class HistoryRow:
    """One change of an alias, as it is printed."""

    time: str  # UTC, ISO 8601
    action: str
    alias: str
    from_version: int | None
    to_version: int
    actor: str
    origin: str
    gate: str  # passed, refused, forced (overridden), or none (no gate report)
    reason: str

    def as_dict(self) -> Mapping[str, Any]:
        """The row as plain JSON values."""
        return dataclasses.asdict(self)


def history(ledger: Ledger, name: str) -> tuple[HistoryRow, ...]:
    """Every change of a model's aliases, oldest first."""
    return tuple(_row(entry) for entry in ledger.entries(name))


def history_table(rows: tuple[HistoryRow, ...]) -> str:
    """`rows` as aligned columns, for a terminal."""
    cells = [("time", "action", "alias", "from", "to", "by", "origin", "gate", "reason")]
    for row in rows:
        before = "-" if row.from_version is None else str(row.from_version)
        cells.append(
            (row.time, row.action, row.alias, before, str(row.to_version), row.actor, row.origin, row.gate, row.reason)
        )
    widths = [max(len(line[column]) for line in cells) for column in range(len(cells[0]))]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip() for line in cells
    )


def _row(entry: LedgerEntry) -> HistoryRow:
    if entry.forced:
        verdict = "forced"
    elif entry.gate_report is None:
        verdict = "none"
    else:
        verdict = "passed" if entry.gate_report.get("passed") else "refused"
    return HistoryRow(
        time=datetime.fromtimestamp(entry.time_s, UTC).isoformat(timespec="seconds"),
        action=entry.action,
        alias=entry.alias,
        from_version=entry.from_version,
        to_version=entry.to_version,
        actor=entry.actor,
        origin=entry.origin,
        gate=verdict,
        reason=entry.reason,
    )
