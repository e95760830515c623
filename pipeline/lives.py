"""When a version was live, read from the ledger: who began it, who ended it."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

from registry.history import utc
from registry.ledger import CHAMPION, LedgerEntry


@dataclass(frozen=True)
class Life:
    """One time that a version was live. `ended` is None as long as it is."""

    action: str  # what began it: promote, rollback, observed, or the refusal of the one that was to follow
    since: str  # UTC, ISO 8601
    actor: str
    origin: str
    reason: str
    forced: bool
    gate_report: Mapping[str, Any] | None
    until: str | None = None
    ended: str | None = None  # how: "rollback by ada to version 1: complaints"

    def as_dict(self) -> dict[str, Any]:
        document = asdict(self)
        del document["gate_report"]
        return document


def lives(entries: Sequence[LedgerEntry], version: int) -> tuple[Life, ...]:
    """Each time that a model's entries, oldest first, have `version` live."""
    found: list[Life] = []
    live: int | None = None
    for entry in entries:
        before, live = live, _live_after(live, entry)
        if before == live:
            continue
        if live == version:
            found.append(_begun(entry))
        elif before == version:
            found[-1] = _ended(found[-1], entry)
    return tuple(found)


def _live_after(live: int | None, entry: LedgerEntry) -> int | None:
    if entry.alias != CHAMPION or entry.action == "rollout":
        return live
    if entry.action == "refuse" and entry.from_version != live:
        return live  # it was refused before it was live
    return entry.to_version


def _begun(entry: LedgerEntry) -> Life:
    return Life(
        action=entry.action,
        since=utc(entry.time_s),
        actor=entry.actor,
        origin=entry.origin,
        reason=entry.reason,
        forced=entry.forced,
        gate_report=entry.gate_report,
    )


def _ended(life: Life, entry: LedgerEntry) -> Life:
    following = "" if entry.to_version is None else f" to version {entry.to_version}"
    because = f": {entry.reason}" if entry.reason else ""
    return replace(life, until=utc(entry.time_s), ended=f"{entry.action} by {entry.actor}{following}{because}")
