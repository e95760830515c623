"""A gate's verdict, and what follows from it: bytes published, alias moved, servers told, ledger written."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from pipeline.config import Config
from pipeline.publication import configured, publish, registered_digest, verify_source, write_configs
from registry.client import ModelVersion, Registry
from registry.gate import GateReport
from registry.gate import gate as compare
from registry.lease import actor
from registry.ledger import CHAMPION, Ledger, LedgerEntry
from registry.promote import Change, champion_to_beat, move_challenger, move_champion, rollback_target
from registry.register import GATE, candidate
from serving.stores import open_store

if TYPE_CHECKING:
    from pipeline.tracking import StepRun
    from registry.evaluation import Evaluation


@dataclass(frozen=True)
class Promotion:
    """What a promotion or rollback came to. Not done: the gate refused, and nothing was changed."""

    entry: LedgerEntry | None
    report: GateReport | None

    @property
    def done(self) -> bool:
        return self.entry is not None

    def text(self) -> str:
        """The gate's table, if there is one, and what was moved."""
        lines = [] if self.report is None else [self.report.table()]
        if self.entry is None:
            next_command = self.report.next_command if self.report else ""
            return "\n".join([*lines, f"refused: nothing was changed\nnext: {next_command}"])
        entry = self.entry
        before = "none" if entry.from_version is None else f"version {entry.from_version}"
        forced = " (forced)" if entry.forced else ""
        lines.append(f"{entry.model}: {entry.alias} is version {entry.to_version}{forced}, was {before}")
        return "\n".join(lines)


Reevaluate = Callable[[ModelVersion, ModelVersion], "Evaluation"]


def judge(config: Config, version: ModelVersion, run: "StepRun", reevaluate: Reevaluate) -> GateReport:
    """The gate's report on `version`, logged to `run` and to the version's own run, and tagged on the version.

    `reevaluate(champion, version)` is asked where the champion was not evaluated on the version's held-out images.
    """
    from pipeline.tracking import StepRun, log_record

    registry = Registry()
    challenger = candidate(registry, version)
    number = champion_to_beat(registry, open_ledger(registry), version.name, version.version)
    champion = None
    if number is not None:
        beaten = registry.version(version.name, number)
        champion = candidate(registry, beaten)
        new, old = challenger.evaluation, champion.evaluation
        if new is not None and (old is None or (old.labels == new.labels and old.split_digest != new.split_digest)):
            champion = candidate(registry, beaten, new.split_digest)
            if champion.evaluation is None:
                reevaluate(beaten, version)
                champion = candidate(registry, beaten, new.split_digest)
    report = compare(challenger, champion, config.gate)
    for place in {run.run_id, version.run_id} - {""}:
        log_record(StepRun(place), f"gate/{version.name}-{version.version}.json", report.as_dict())
    registry.set_tags(version.name, version.version, {GATE: "passed" if report.passed else "refused"})
    return report


def to_champion(config: Config, version: ModelVersion, report: GateReport, reason: str, *, force: bool) -> Promotion:
    """Publish `version`, make it champion, tell the servers; nothing of it if the gate refused, unless `force`."""
    if not (report.passed or force):
        return Promotion(None, report)
    registry = Registry()
    ledger = open_ledger(registry)
    publish(config, registry, version)
    change = Change(
        name=version.name,
        version=version.version,
        action="promote",
        expected_champion=report.against,
        actor=actor(),
        reason=reason,
        forced=force and not report.passed,
        gate_report=report,
    )
    entry = move_champion(registry, ledger, change)
    _tell_servers(config, registry, ledger, version.name)
    return Promotion(entry, report)


def to_challenger(config: Config, version: ModelVersion, reason: str) -> Promotion:
    """Make `version` the challenger; what is live stays."""
    registry = Registry()
    ledger = open_ledger(registry)
    champion = registry.aliases(config.name).get(CHAMPION)
    change = Change(version.name, version.version, "promote", champion, actor(), reason=reason)
    return Promotion(move_challenger(registry, ledger, change), None)


def roll_back(config: Config, to: int | None, reason: str) -> Promotion:
    """Make a former champion live again, having held every byte of it against its registered digest."""
    registry = Registry()
    ledger = open_ledger(registry)
    unfinished = _untold_rollback(config, registry, ledger, to)
    if unfinished is not None:
        _tell_servers(config, registry, ledger, config.name)
        return Promotion(unfinished, None)
    target = registry.version(config.name, rollback_target(registry, ledger, config.name, to))
    verify_source(registry, target)
    if target.version in open_store(config.base).versions(target.name):
        open_store(config.base).verify(target.name, target.version, registered_digest(target))
    else:
        publish(config, registry, target)
    champion = registry.aliases(config.name).get(CHAMPION)
    change = Change(target.name, target.version, "rollback", champion, actor(), reason=reason)
    entry = move_champion(registry, ledger, change)
    _tell_servers(config, registry, ledger, target.name)
    return Promotion(entry, None)


def open_ledger(registry: Registry) -> Ledger:
    """The ledger that belongs to this registry."""
    from registry.database import default_database_url

    return Ledger(default_database_url(registry.tracking_uri))


def champion_and_previous(registry: Registry, ledger: Ledger, name: str) -> tuple[int | None, int | None]:
    """The live version's number, and the one that a rollback would bring back."""
    champion = registry.aliases(name).get(CHAMPION)
    return champion, None if champion is None else ledger.previous_champion(name, champion)


def _tell_servers(config: Config, registry: Registry, ledger: Ledger, name: str) -> None:
    """Write what the registry says when it is written, not what this command meant."""
    write_configs(config, name, lambda: champion_and_previous(registry, ledger, name))


def _untold_rollback(config: Config, registry: Registry, ledger: Ledger, to: int | None) -> LedgerEntry | None:
    """The rollback that was killed before the servers were told, if this one asks for the same."""
    champion = registry.aliases(config.name).get(CHAMPION)
    last = ledger.last(config.name, CHAMPION)
    if last is None or last.action != "rollback" or last.to_version != champion or to not in (None, champion):
        return None
    told = set(configured(config, config.name))
    return None if told == {champion} else last
