"""What came of an intent, written down: a version is live, was refused, or is served no more.

Alias, stages and ledger are made to agree, in an order that a kill may interrupt anywhere: the next call for the same
outcome does what is left and appends nothing twice.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from registry.client import RegisteredModel, Registry
from registry.deployment import ROLLED_BACK
from registry.entities import PRODUCTION, SERVING, STAGE_OF
from registry.intent import last_finished_s
from registry.lease import actor, lease
from registry.ledger import CHALLENGER, CHAMPION, Ledger, LedgerEntry, NewEntry
from slipway.errors import ConflictError

LEASE_S = 120  # a move is some ten requests
UI = "ui"
UI_ACTOR = "not recorded by MLflow"
_WAIT_S = 120  # for moves that are under way


@dataclass(frozen=True)
class Move:
    """A version that went live, and why it did."""

    decided_on: RegisteredModel  # what the intent was read from
    version: int
    action: Literal["promote", "rollback"]
    actor: str
    origin: str
    reason: str
    replaces: int | None = None  # what was live before, as the servers have it; None: the ledger's word
    forced: bool = False
    gate_report: Mapping[str, Any] | None = None  # GateReport.as_dict()


def record_live(registry: Registry, ledger: Ledger, move: Move) -> LedgerEntry | None:
    """Make alias, stages and ledger say that a version is live; None when the ledger said so already.

    The model is tagged as served, and the alias challenger taken from the version. A rollback tags the version that it
    leaves.

    Raises:
        ConflictError: alias or stage went to another version since the intent was read.
    """
    name, version = move.decided_on.name, move.version
    with lease(ledger, f"move {name}", LEASE_S, _WAIT_S) as held:
        model = registry.model(name)
        _check_still_meant(model, move)
        held.check()
        last = ledger.last(name, CHAMPION)
        recorded = None if last is None else last.to_version
        came_from = recorded if move.replaces in {None, version} else move.replaces
        if model.aliases.get(CHAMPION) != version:
            lift_rolled_back(registry, name, version)
            registry.set_alias(name, CHAMPION, version)
        if (model.aliases.get(CHAMPION), model.stages.get(PRODUCTION)) != (version, version):
            set_stages(registry, name, version, PRODUCTION)
        if model.aliases.get(CHALLENGER) == version:
            registry.delete_alias(name, CHALLENGER)
        if model.tags.get(SERVING) != "true":
            registry.tag_model(name, {SERVING: "true"})
        if move.action == "rollback" and came_from is not None and came_from != version:
            mark_rolled_back(registry, name, came_from, move.reason)
        if recorded == version:
            return None
        return ledger.append(
            NewEntry(
                model=name,
                action=move.action,
                alias=CHAMPION,
                from_version=came_from,
                to_version=version,
                actor=move.actor,
                origin=move.origin,
                reason=move.reason,
                forced=move.forced,
                gate_report=move.gate_report,
            )
        )


@dataclass(frozen=True)
class Refusal:
    """A version that did not go live, or was not loaded as the challenger, and why."""

    name: str
    version: int
    live: int | None  # what stays live
    reason: str


def record_refused(registry: Registry, ledger: Ledger, refusal: Refusal, *, restore: bool) -> LedgerEntry:
    """Write a refusal down; with `restore`, alias and stage return to what is live. A challenger loses them.

    Tag the version first (`registry.deployment.note`): once alias and stage are back, only the ledger tells of it.
    """
    name, version = refusal.name, refusal.version
    with lease(ledger, f"move {name}", LEASE_S, _WAIT_S) as held:
        model = registry.model(name)
        alias = CHAMPION if version in {model.aliases.get(CHAMPION), model.stages.get(PRODUCTION)} else CHALLENGER
        entry = _unfinished_refusal(ledger, name, alias, version)
        if entry is None:
            entry = ledger.append(
                NewEntry(name, "refuse", alias, version, refusal.live, actor(), "reconcile", refusal.reason)
            )
        if restore:
            held.check()
            _restore(registry, model, alias, refusal)
        return entry


def record_retired(
    registry: Registry, ledger: Ledger, name: str, retired: int, reason: str, origin: str = UI
) -> LedgerEntry:
    """Write down that the champion `retired` is served no more; it loses the alias and the stage."""
    with lease(ledger, f"move {name}", LEASE_S, _WAIT_S) as held:
        last = ledger.last(name, CHAMPION)
        if last is None or (last.action, last.from_version) != ("retire", retired):
            who = UI_ACTOR if origin == UI else actor()
            last = ledger.append(NewEntry(name, "retire", CHAMPION, retired, None, who, origin, reason))
        held.check()
        model = registry.model(name)
        if model.aliases.get(CHAMPION) == retired:
            registry.delete_alias(name, CHAMPION)
        _leave_stage(registry, name, retired, PRODUCTION)
        return last


def mark_rolled_back(registry: Registry, name: str, left: int, reason: str) -> None:
    """Tag the version that a rollback left: it is not promoted again without force."""
    registry.set_tags(name, left, {ROLLED_BACK: reason.strip() or "no reason given"})


def lift_rolled_back(registry: Registry, name: str, version: int) -> None:
    """Take that tag away; before the alias moves there, or a pass in between refuses the version by it."""
    registry.delete_tags(name, version, (ROLLED_BACK,))


def set_stages(registry: Registry, name: str, version: int, stage: str) -> None:
    """Show a move in MLflow's older UI: this version in `stage`, whichever was there archived."""
    for each in registry.versions(name):
        if each.version == version and each.stage != stage:
            registry.set_stage(name, version, stage)
        elif each.version != version and each.stage == stage:
            registry.set_stage(name, each.version, "Archived")


def _check_still_meant(model: RegisteredModel, move: Move) -> None:
    then = move.decided_on
    for what, now, before in (
        (f"alias {CHAMPION}", model.aliases.get(CHAMPION), then.aliases.get(CHAMPION)),
        (f"stage {PRODUCTION}", model.stages.get(PRODUCTION), then.stages.get(PRODUCTION)),
    ):
        if now not in {before, move.version}:
            raise ConflictError(
                f"{model.name}: {what} is on version {now}, expected {before}: somebody moved it while version "
                f"{move.version} went live. The next pass of `slipway reconcile` follows it."
            )


def _unfinished_refusal(ledger: Ledger, name: str, alias: str, version: int) -> LedgerEntry | None:
    """The entry of this same refusal, by a pass that was killed before it had finished."""
    last = ledger.last(name, alias)
    if last is None or (last.action, last.from_version) != ("refuse", version):
        return None
    finished_s = last_finished_s(ledger, name)
    return last if finished_s is None or last.time_s > finished_s else None


def _restore(registry: Registry, model: RegisteredModel, alias: str, refusal: Refusal) -> None:
    name, version = refusal.name, refusal.version
    back_to = refusal.live if alias == CHAMPION else None
    _leave_stage(registry, name, version, STAGE_OF[alias])
    if back_to is not None and model.stages.get(PRODUCTION) in {None, version, back_to}:
        set_stages(registry, name, back_to, PRODUCTION)
    # The alias last: until it is back, the next pass finds the same intent and finishes this.
    if model.aliases.get(alias) == version:
        if back_to is None:
            registry.delete_alias(name, alias)
        else:
            registry.set_alias(name, alias, back_to)


def _leave_stage(registry: Registry, name: str, version: int, stage: str) -> None:
    if registry.version(name, version).stage == stage:
        registry.set_stage(name, version, "Archived")
