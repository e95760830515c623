"""Move `champion` or `challenger` to another version: alias, stage, ledger entry, in this order and under a lease.

The alias is the fact, and moves in one step. Whatever a call that was killed left undone behind it (the stage of the
older UI, the ledger entry) is done by the next call for the same version; a next call for another version records the
unexplained move first.
"""

from dataclasses import dataclass
from typing import Literal

from registry.client import Registry
from registry.deployment import ROLLED_BACK
from registry.entities import STAGE_OF
from registry.gate import GateReport
from registry.intent import forget_refusal
from registry.lease import lease
from registry.ledger import CHALLENGER, CHAMPION, Ledger, LedgerEntry, NewEntry
from registry.outcome import (
    LEASE_S,
    UI,
    UI_ACTOR,
    Move,
    Refusal,
    lift_rolled_back,
    mark_rolled_back,
    record_live,
    record_refused,
    record_retired,
    set_stages,
)
from slipway.errors import ConflictError, InputError, NotFoundError

__all__ = [
    "UI",
    "UI_ACTOR",
    "Change",
    "Move",
    "Refusal",
    "champion_to_beat",
    "move_challenger",
    "move_champion",
    "record_live",
    "record_refused",
    "record_retired",
    "rollback_target",
]


_WAIT_S = 60  # for moves that are under way: a canary that is recorded, a rollout that ends


@dataclass(frozen=True)
class Change:
    """What is to happen, and on what it was decided."""

    name: str
    version: int
    action: Literal["promote", "rollback"]
    expected_champion: int | None  # the champion that the decision was made against; None: there was none
    actor: str
    origin: str = "command"
    reason: str = ""
    forced: bool = False  # overrides a refusal; needs a reason
    gate_report: GateReport | None = None


def move_champion(registry: Registry, ledger: Ledger, change: Change) -> LedgerEntry:
    """Make a version the champion and return the ledger's entry of it; again for the same version, change nothing.

    Again for one that was refused and kept the alias: the next pass tries it anew. Other moves are waited for.

    Raises:
        ConflictError: somebody else is moving it, for a minute and longer, or the champion is no longer the expected
            one.
        InputError: a promotion without a passed gate report, or of a version that was rolled back from, that is not
            forced, with a reason; or a rollback to a version that never was champion.
    """
    _check_decision(ledger, change)
    with lease(ledger, f"move {change.name}", LEASE_S, _WAIT_S) as held:
        current = registry.aliases(change.name).get(CHAMPION)
        expected = {change.version, change.expected_champion}
        if current not in expected and _standing(ledger, change.name, current) not in expected:
            raise ConflictError(
                f"{change.name}: the champion is version {current}, expected {change.expected_champion}: somebody "
                f"moved it after this was decided. Run `python -m pipeline gate --name {change.name} "
                f"--version {change.version}` again."
            )
        if (
            change.action == "promote"
            and not change.forced
            and _standing(ledger, change.name, current) != change.version
        ):
            _check_not_rolled_back(registry, change)
        held.check()
        entry = _move(registry, ledger, change, CHAMPION)
        if registry.aliases(change.name).get(CHALLENGER) == change.version:
            registry.delete_alias(change.name, CHALLENGER)  # what is live is no longer a candidate
        return entry


def move_challenger(registry: Registry, ledger: Ledger, change: Change) -> LedgerEntry:
    """Make a version the challenger and return the ledger's entry of it; again for the same version, change nothing.

    Again for one that was refused and kept the alias: the next pass tries it anew. Other moves are waited for.

    Raises:
        ConflictError: somebody else is moving it, for a minute and longer, or the version is the champion.
    """
    with lease(ledger, f"move {change.name}", LEASE_S, _WAIT_S) as held:
        if registry.aliases(change.name).get(CHAMPION) == change.version:
            raise ConflictError(
                f"{change.name} version {change.version} is the champion; expected another one as its challenger. "
                "Name a version that is not live."
            )
        held.check()
        return _move(registry, ledger, change, CHALLENGER)


def champion_to_beat(registry: Registry, ledger: Ledger, name: str, version: int) -> int | None:
    """The champion that the gate has to compare `version` with; None if there is none.

    That is the alias's, except when a killed promotion moved it to `version` already: then the one before.
    """
    current = _standing(ledger, name, registry.aliases(name).get(CHAMPION))
    if current != version:
        return current
    recorded = ledger.last(name, CHAMPION)
    return recorded.to_version if recorded is not None else None


def rollback_target(registry: Registry, ledger: Ledger, name: str, to: int | None = None) -> int:
    """The version that a rollback brings back: `to`, or the champion before the present one.

    Where the alias already is on the champion before, and the ledger does not know it, a rollback was killed halfway:
    then it is that version again, so that the next call finishes it instead of going one further.

    Raises:
        NotFoundError: there is no champion, or none before it, or no such version.
        InputError: `to` is the champion, or never was one.
    """
    current = _standing(ledger, name, registry.require_alias(name, CHAMPION).version)
    assert current is not None
    recorded = ledger.champions(name)
    unfinished = bool(recorded) and recorded[-1] != current
    if to is None:
        if unfinished and recorded[-2:-1] == (current,):
            return current
        previous = ledger.previous_champion(name, current)
        if previous is None:
            raise NotFoundError(
                f"{name}: version {current} is its first champion; there is none to go back to. "
                "Promote another version."
            )
        return registry.version(name, previous).version
    target = registry.version(name, to).version
    if target == current and not unfinished:
        raise InputError(f"{name}: version {target} is the champion already. Name another one by --to.")
    _check_was_champion(ledger, name, target)
    return target


def _standing(ledger: Ledger, name: str, current: int | None) -> int | None:
    """The champion; where the alias was left on a version that was refused, the one that stayed live."""
    last = ledger.last(name, CHAMPION)
    left_on_refused = last is not None and (last.action, last.from_version) == ("refuse", current)
    return last.to_version if last is not None and left_on_refused else current


def _check_decision(ledger: Ledger, change: Change) -> None:
    place = f"{change.name} version {change.version}"
    report = change.gate_report
    if report is not None and (report.name, report.version) != (change.name, change.version):
        raise InputError(
            f"{place}: the gate report is of {report.name} version {report.version}. Run the gate on {place}."
        )
    if report is not None and report.against != change.expected_champion:
        raise InputError(
            f"{place}: the gate compared it with champion {report.against}, expected {change.expected_champion}. "
            "Run the gate again."
        )
    if change.action == "rollback":
        _check_was_champion(ledger, change.name, change.version)
    elif change.forced and not change.reason.strip():
        raise InputError(f"{place}: forcing a promotion needs a reason for the ledger. Add --reason TEXT.")
    elif not change.forced and not (report is not None and report.passed):
        raise InputError(
            f"{place}: a promotion to champion needs a gate report that passes. "
            "Run the gate, or add --force --reason TEXT."
        )


def _check_not_rolled_back(registry: Registry, change: Change) -> None:
    why = registry.version(change.name, change.version).tags.get(ROLLED_BACK)
    if why is not None:
        raise InputError(
            f"{change.name} version {change.version} was rolled back from ({why}); expected another version. Register "
            "a better one, or add --force --reason TEXT."
        )


def _check_was_champion(ledger: Ledger, name: str, version: int) -> None:
    moves = [entry for entry in ledger.entries(name) if entry.alias == CHAMPION]
    former = {entry.to_version for entry in moves} | {entry.from_version for entry in moves} - {None}
    if version not in former:
        known = ", ".join(str(each) for each in sorted(each for each in former if each is not None)) or "none"
        raise InputError(
            f"{name}: version {version} never was champion; a rollback goes to a former one ({known}). "
            f"Instead, promote it: `python -m pipeline promote --name {name} --version {version} --to champion`."
        )


def _move(registry: Registry, ledger: Ledger, change: Change, alias: str) -> LedgerEntry:
    name, version = change.name, change.version
    current = registry.aliases(name).get(alias)
    last = ledger.last(name, alias)
    recorded = None if last is None else last.to_version
    refused = last.from_version if last is not None and last.action == "refuse" else None
    came_from = recorded if current in {None, refused, version} else current
    if came_from not in {None, recorded}:
        _record_unexplained(ledger, name, alias, recorded, came_from)
    if alias == CHAMPION and (current != version or refused == version):
        lift_rolled_back(registry, name, version)
    if current != version:
        registry.set_alias(name, alias, version)
    elif refused == version:  # it was left there: without this, the alias would count as not moved since
        forget_refusal(ledger, name, alias)
    set_stages(registry, name, version, STAGE_OF[alias])
    if change.action == "rollback" and came_from is not None and came_from != version:
        mark_rolled_back(registry, name, came_from, change.reason)
    if current == version and last is not None and recorded == version:
        return last
    return ledger.append(
        NewEntry(
            model=name,
            action=change.action,
            alias=alias,
            from_version=came_from,
            to_version=version,
            actor=change.actor,
            origin=change.origin,
            reason=change.reason,
            forced=change.forced,
            gate_report=None if change.gate_report is None else change.gate_report.as_dict(),
        )
    )


def _record_unexplained(ledger: Ledger, name: str, alias: str, recorded: int | None, found: int) -> None:
    ledger.append(
        NewEntry(
            model=name,
            action="observed",
            alias=alias,
            from_version=recorded,
            to_version=found,
            actor="unknown",
            origin="registry",
            reason=f"{alias} was found on version {found}: moved outside Slipway, or by a command that was killed",
        )
    )
