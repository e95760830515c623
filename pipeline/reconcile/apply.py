"""What each step of a plan does. A pass that is killed within any of them leaves what the next pass goes on from."""

import time
from collections.abc import Callable
from contextlib import suppress
from typing import assert_never

from pipeline.publication import publish, registered_digest
from pipeline.reconcile.plan import Fact
from pipeline.reconcile.report import ModelReport
from pipeline.reconcile.serving import MovedOnError, RefusedError, Waiting
from pipeline.reconcile.steps import Ask, AwaitLive, Configure, Load, Publish, Record, Retire, Save, Step, Withdraw
from pipeline.reconcile.world import World
from registry.client import ModelVersion
from registry.deployment import DEPLOY, ROLLED_BACK, note
from registry.entities import STAGE_OF, RegisteredModel
from registry.intent import Intent, decide, save_seen
from registry.lease import lease
from registry.ledger import CHAMPION, LedgerEntry
from registry.promote import UI, UI_ACTOR, Change, Move, move_challenger, record_live, record_retired
from serving.model_config import LABELS_CONFIG, MODELS_CONFIG, Listed, labels_config, listed, models_config
from slipway.errors import ConflictError, InputError, IntegrityError, NotFoundError, UnavailableError

_JOIN_S = 10.0  # how long a server that follows the base path may take to list a model that is new to it
_CHANGE_OVER_S = 60.0
_CHANGE_OVER_WAIT_S = 30.0


def change_over_key(name: str) -> str:
    """The lease under which what is live changes: by a pass, or by a rollback."""
    return f"change over {name}"


class Application:
    """Does the steps for one model, and writes what it did to `report`."""

    def __init__(self, world: World, intent: Intent, fact: Fact, report: ModelReport) -> None:
        self._world = world
        self._intent = intent
        self._fact = fact
        self._name = fact.model.name
        self._report = report
        self._versions: dict[int, ModelVersion] = {}

    def do(self, step: Step) -> None:
        """Do one step.

        RefusedError: the version may not go live. MovedOnError: plan anew. Other errors: try again later.
        """
        self._world.check()
        match step:
            case Publish():
                self._timed("publish", lambda: self._publish(step))
            case Configure():
                self._configure(step)
            case Load():
                patience_s = 0.0 if self._fact.live is not None else _JOIN_S
                waiting = Waiting(self._world.config.reconcile.load_timeout_s, self._still_wanted, patience_s)
                self._timed("load", lambda: self._world.serving.await_loaded(self._version(step.version), waiting))
            case Ask():
                self._timed("golden", lambda: self._ask(step))
            case AwaitLive():
                waiting = Waiting(self._world.config.reconcile.load_timeout_s, self._still_wanted)
                self._timed("live", lambda: self._world.serving.await_live(self._version(step.version), waiting))
            case Record():
                self._timed("registry", lambda: self._record(step))
            case Retire():
                self._retire(step)
            case Withdraw():
                self._withdraw(step)
            case Save():
                save_seen(self._world.ledger, self._name, step.seen)
                return
            case _:
                assert_never(step)
        self._report.done.append(step.text)

    def _version(self, number: int) -> ModelVersion:
        if number not in self._versions:
            self._versions[number] = self._world.registry.version(self._name, number)
        return self._versions[number]

    def _publish(self, step: Publish) -> None:
        version = self._version(step.version)
        left = version.tags.get(ROLLED_BACK)
        if (
            step.role == CHAMPION
            and left is not None
            and step.version != self._fact.live
            and self._intent.champion_moved
        ):
            raise RefusedError(
                f"it was rolled back from ({left}). Lift that with: slipway promote --name {self._name} "
                f"--version {step.version} --force --reason TEXT"
            )
        try:
            registered_digest(version)
        except InputError as error:
            raise RefusedError(str(error)) from error
        try:
            publish(self._world.config, self._world.registry, version)
        except (IntegrityError, ConflictError) as error:  # ConflictError: another servable has its place
            raise RefusedError(str(error)) from error

    def _configure(self, step: Configure) -> None:
        if not step.goes_live:
            write_configs(self._world, self._name, step)
            return
        with lease(self._world.ledger, change_over_key(self._name), _CHANGE_OVER_S, _CHANGE_OVER_WAIT_S):
            self._still_wanted()
            write_configs(self._world, self._name, step)

    def _ask(self, step: Ask) -> None:
        self._report.verified[step.version] = self._world.serving.verify(self._version(step.version))

    def _record(self, step: Record) -> None:
        if step.role != CHAMPION:
            self._record_canary(step.version)
            return
        world, name = self._world, self._name
        what = "stage Production" if self._intent.signal == "stage" else f"alias {CHAMPION}"
        move = Move(
            decided_on=self._fact.model,
            version=step.version,
            action="promote",
            actor=UI_ACTOR,
            origin=UI,
            reason=f"{what} was moved in MLflow",
            replaces=step.former,
        )
        try:
            entry = record_live(world.registry, world.ledger, move) or world.ledger.last(name, CHAMPION)
        except ConflictError:
            self._still_wanted()
            raise
        note(world.registry, name, step.version, "live", _told(entry), world.clock())
        if step.former is not None:
            self._note_gone(step.former, f"version {step.version} is live in its place")

    def _record_canary(self, version: int) -> None:
        world = self._world
        champion = self._fact.model.aliases.get(CHAMPION)
        change = Change(
            self._name, version, "promote", champion, UI_ACTOR, UI, reason="alias or stage was moved in MLflow"
        )
        self._still_wanted()
        entry = move_challenger(world.registry, world.ledger, change)
        note(world.registry, self._name, version, "canary", _told(entry), world.clock())

    def _retire(self, step: Retire) -> None:
        if step.champion is not None:
            self._still_wanted()
        for version in sorted(step.versions):
            self._note_gone(version, "it is served no more")
        if step.champion is not None:
            reason = f"alias {CHAMPION} was deleted in MLflow"
            record_retired(self._world.registry, self._world.ledger, self._name, step.champion, reason)

    def _withdraw(self, step: Withdraw) -> None:
        registry, name = self._world.registry, self._name
        with lease(self._world.ledger, f"move {name}", _CHANGE_OVER_S, _CHANGE_OVER_WAIT_S):
            self._still_wanted()
            if registry.aliases(name).get(step.role) == step.version:
                registry.delete_alias(name, step.role)
            if registry.version(name, step.version).stage == STAGE_OF[step.role]:
                registry.set_stage(name, step.version, "Archived")

    def _note_gone(self, number: int, reason: str) -> None:
        """Only on one that was said to be served: a refusal stays as it was written. Not on one that was deleted."""
        with suppress(NotFoundError):
            if self._world.registry.version(self._name, number).tags.get(DEPLOY) in {"live", "canary"}:
                note(self._world.registry, self._name, number, "retired", reason, self._world.clock())

    def _still_wanted(self) -> None:
        """MovedOnError once the registry wants something else; while it is away, what it said last counts.

        ConflictError once somebody else does the passes.
        """
        try:
            self._world.check()
            model = self._world.registry.model(self._name)
        except UnavailableError:
            return
        check_still_wanted(self._intent, self._fact, model)

    def _timed(self, part: str, work: Callable[[], None]) -> None:
        began = time.monotonic()
        try:
            work()
        finally:
            self._report.parts_s[part] = self._report.parts_s.get(part, 0.0) + time.monotonic() - began


def check_still_wanted(intent: Intent, fact: Fact, model: RegisteredModel) -> None:
    """MovedOnError if `model` states another intent than `intent`."""
    now = decide(model, fact.seen, intent.recorded)
    if (now.champion, now.challenger) != (intent.champion, intent.challenger):
        raise MovedOnError(
            f"{model.name}: the registry wants champion {now.champion} and challenger {now.challenger} now; "
            f"this was for champion {intent.champion} and challenger {intent.challenger}. Plan anew."
        )


def write_configs(world: World, name: str, step: Configure) -> None:
    """Write both files, labels first: a server that reads them keeps both versions loaded, whichever changes next.

    MovedOnError if a file says something else of the model than the plan was made from.
    """
    path = world.model_path(name)

    def guarded(file: str, before: Listed, make: Callable[[bytes | None], bytes | None]) -> None:
        def update(present: bytes | None) -> bytes | None:
            now, after = listed(present, file, name), make(present)
            if now not in (before, listed(after, file, name)):
                raise MovedOnError(f"{file}: somebody else has changed what it says of {name}. Plan anew.")
            return after

        world.store.update_file(file, update)

    guarded(LABELS_CONFIG, step.before[0], lambda present: labels_config(present, name, path, step.wanted))
    guarded(MODELS_CONFIG, step.before[1], lambda present: models_config(present, name, path, step.wanted))


def _told(entry: LedgerEntry | None) -> str:
    if entry is None:
        return "as the registry says"
    if entry.origin == UI:
        return f"{entry.reason}, by whom it does not record"
    reason = f": {entry.reason}" if entry.reason else ""
    return f"{entry.action} by {entry.actor}, from {entry.origin}{reason}"
