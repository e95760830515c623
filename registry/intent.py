"""What should be live, read from aliases and stages: whatever changed since the last finished pass is meant."""

import dataclasses
from dataclasses import dataclass
from typing import Literal

from registry.entities import PRODUCTION, STAGING, RegisteredModel
from registry.ledger import CHALLENGER, CHAMPION, Ledger, database_errors

Signal = Literal["alias", "stage", "none"]


@dataclass(frozen=True)
class Seen:
    """Where aliases and stages were when the last pass over the model had finished."""

    champion: int | None
    challenger: int | None
    production: int | None
    staging: int | None
    refused: int | None  # the version that was refused last, and is not tried again until its alias is moved anew


@dataclass(frozen=True)
class Intent:
    """What should be live and what should be loaded as the candidate.

    `champion` None with `champion_moved`: the model is to be retired. `signal` is what named the champion or, when only
    the challenger moved, the challenger.
    """

    name: str
    champion: int | None
    challenger: int | None
    champion_moved: bool  # since the last finished pass; on the first pass: there is one
    challenger_moved: bool
    signal: Signal
    notes: tuple[str, ...]
    recorded: int | None = None  # what was written down as live since the last finished pass


@dataclass(frozen=True)
class _Choice:
    version: int | None
    moved: bool
    signal: Signal
    notes: tuple[str, ...] = ()


def intent_of(ledger: Ledger, model: RegisteredModel, seen: Seen | None) -> Intent:
    """`decide`, with what the ledger says of moves that no finished pass has seen."""
    now = model.aliases.get(CHAMPION), model.stages.get(PRODUCTION)
    unseen = seen is not None and now != (seen.champion, seen.production)
    return decide(model, seen, _recorded_since(ledger, model.name) if unseen else None)


def decide(model: RegisteredModel, seen: Seen | None, recorded: int | None = None) -> Intent:
    """The intent that a model's aliases and stages state.

    The one of alias and stage that changed since `seen` is meant. Both changed, to different versions: the alias is,
    and a note says so. Of a change to a version and one to none (an alias deleted, a version taken out of its stage),
    the one that names a version is. Neither changed, or nothing was seen yet: the alias, else the stage.

    recorded: the version that was written down as live since `seen`, by a command, or by a pass that was killed before
    it had finished; alias and stage were both on it then. What moved after that is meant, though it may have gone back
    to where it was seen.
    """
    alias, stage = model.aliases.get(CHAMPION), model.stages.get(PRODUCTION)
    before = None if seen is None else (seen.champion, seen.production)
    champion = _choose(CHAMPION, PRODUCTION, (alias, stage), before)
    if recorded is not None:
        after = _choose(CHAMPION, PRODUCTION, (alias, stage), (recorded, recorded))
        champion = after if after.moved else champion

    alias, stage = model.aliases.get(CHALLENGER), model.stages.get(STAGING)
    before = None if seen is None else (seen.challenger, seen.staging)
    challenger = _choose(CHALLENGER, STAGING, (alias, stage), before)
    candidate = challenger.version if challenger.version != champion.version else None  # live: a candidate no longer

    return Intent(
        name=model.name,
        champion=champion.version,
        challenger=candidate,
        champion_moved=champion.moved,
        challenger_moved=challenger.moved,
        signal=champion.signal if champion.signal != "none" else challenger.signal,
        notes=champion.notes + challenger.notes,
        recorded=recorded,
    )


def _choose(
    alias_name: str,
    stage_name: str,
    now: tuple[int | None, int | None],
    before: tuple[int | None, int | None] | None,
) -> _Choice:
    alias, stage = now
    alias_moved, stage_moved = (now[0] is not None, now[1] is not None) if before is None else _differ(now, before)
    if alias_moved and stage_moved and None not in now and alias != stage:
        note = (
            f"alias {alias_name} names version {alias} and stage {stage_name} version {stage}, and both are new: "
            "the alias counts"
        )
        return _Choice(alias, moved=True, signal="alias", notes=(note,))
    if alias_moved and (alias is not None or not stage_moved or stage is None):
        gone = () if alias is not None else (f"alias {alias_name} was deleted",)
        return _Choice(alias, moved=True, signal="alias", notes=gone)
    if stage_moved:
        gone = () if stage is not None else (f"no version is in stage {stage_name} any more",)
        return _Choice(stage, moved=True, signal="stage", notes=gone)
    return _Choice(stage if alias is None else alias, moved=False, signal="none")


def _differ(now: tuple[int | None, int | None], before: tuple[int | None, int | None]) -> tuple[bool, bool]:
    return now[0] != before[0], now[1] != before[1]


def load_seen(ledger: Ledger, name: str) -> Seen | None:
    """What the last finished pass over the model left; None before the first one."""
    from sqlalchemy import select

    from registry.database import SEEN

    with database_errors(ledger.engine), ledger.engine.connect() as connection:
        row = connection.execute(select(SEEN).where(SEEN.c.model == name)).mappings().one_or_none()
    return None if row is None else Seen(**{field.name: row[field.name] for field in dataclasses.fields(Seen)})


def forget_refusal(ledger: Ledger, name: str, alias: str) -> None:
    """Have the next pass count `alias` as moved anew, wherever it is: what was refused there is tried again."""
    seen = load_seen(ledger, name)
    if seen is not None:
        role = {CHAMPION: "champion", CHALLENGER: "challenger"}[alias]
        save_seen(ledger, name, dataclasses.replace(seen, refused=None, **{role: None}))


def last_finished_s(ledger: Ledger, name: str) -> float | None:
    """When the last finished pass over the model was kept, since the epoch; None before the first one."""
    from sqlalchemy import select

    from registry.database import SEEN

    with database_errors(ledger.engine), ledger.engine.connect() as connection:
        return connection.execute(select(SEEN.c.updated_s).where(SEEN.c.model == name)).scalar_one_or_none()


def _recorded_since(ledger: Ledger, name: str) -> int | None:
    last, finished_s = ledger.last(name, CHAMPION), last_finished_s(ledger, name)
    if last is None or finished_s is None or last.time_s <= finished_s:
        return None
    # What a refusal or a retirement means for alias and stage is done after its entry.
    return last.to_version if last.action in {"promote", "rollback"} else None


def save_seen(ledger: Ledger, name: str, seen: Seen) -> None:
    """Keep what a finished pass left: what it acted on, so that a move in between is still found by the next one."""
    from registry.database import SEEN, upsert

    with database_errors(ledger.engine):
        upsert(ledger.engine, SEEN, {"model": name}, {**dataclasses.asdict(seen), "updated_s": ledger.clock()})
