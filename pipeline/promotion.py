"""A gate's verdict, and what follows from it: the alias is moved, and reconcile makes it live or refuses it."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from pipeline.config import Config
from pipeline.publication import publish
from pipeline.signing.trust import signature_check
from registry.client import ModelVersion, Registry
from registry.deployment import ROLLED_BACK
from registry.full_card import record_gate
from registry.gate import GateReport, RuleResult
from registry.gate import gate as compare
from registry.lease import actor
from registry.ledger import CHALLENGER, CHAMPION, Ledger, LedgerEntry
from registry.promote import Change, champion_to_beat, move_challenger, move_champion
from registry.register import GATE, candidate

if TYPE_CHECKING:
    from pipeline.reconcile.report import Report
    from pipeline.reconcile.serving import Verified
    from pipeline.tracking import StepRun
    from registry.evaluation import Evaluation

_REFUSED = 3


@dataclass(frozen=True)
class Why:
    """Why a version is promoted, and by what: the ledger keeps it. force: although the gate refuses."""

    reason: str = ""
    force: bool = False
    origin: str = "command"


@dataclass(frozen=True)
class Promotion:
    """What a promotion came to. No entry: the gate refused, and nothing was changed."""

    entry: LedgerEntry | None
    report: GateReport | None
    settled: "Report | None" = None  # what reconcile did

    @property
    def exit_code(self) -> int:
        """0: the version is live, or the canary; 1: something failed or is left; 3: it was refused."""
        if self.entry is None or self.settled is None:
            return _REFUSED
        return self.settled.exit_code

    @property
    def done(self) -> bool:
        return self.exit_code == 0

    @property
    def verified(self) -> "Verified | None":
        """How the version answered its golden requests, if it was this process that asked."""
        if self.entry is None or self.settled is None:
            return None
        return self.settled.of(self.entry.model).verified.get(self.entry.to_version or 0)

    def text(self) -> str:
        """The gate's table, if there is one, and what was moved."""
        lines = [] if self.report is None else [self.report.table()]
        if self.entry is None or self.settled is None:
            next_command = self.report.next_command if self.report else ""
            return "\n".join([*lines, f"refused: nothing was changed\nnext: {next_command}"])
        entry, settled = self.entry, self.settled.of(self.entry.model)
        if entry.to_version in settled.refused:
            reason = settled.refused[entry.to_version]
            lines.append(f"{entry.model}: version {entry.to_version} is refused, and what was live stays: {reason}")
        elif not settled.failed:
            before = "none" if entry.from_version is None else f"version {entry.from_version}"
            forced = " (forced)" if entry.forced else ""
            lines.append(f"{entry.model}: {entry.alias} is version {entry.to_version}{forced}, was {before}")
        unclear = [*settled.notes, *settled.left, *([settled.failed] if settled.failed else [])]
        return "\n".join([*lines, *(f"{entry.model}: {text}" for text in unclear)])


Reevaluate = Callable[[ModelVersion, ModelVersion], "Evaluation"]
Further = Callable[[Config, ModelVersion, ModelVersion | None], tuple[RuleResult, ...]]


def judge(
    config: Config, version: ModelVersion, run: "StepRun", reevaluate: Reevaluate, further: Further
) -> GateReport:
    """The gate's report on `version`, logged to `run` and to the version's own run, and tagged on the version.

    `reevaluate(champion, version)` is asked where the champion was not evaluated on the version's held-out images.
    `further(config, version, champion)` gives rules beside the gate's own.
    """
    from pipeline.tracking import StepRun, log_record

    registry = Registry()
    challenger = candidate(registry, version)
    if config.gate.require_signature:
        challenger = replace(challenger, signature=signature_check(config, version))
    number = champion_to_beat(registry, open_ledger(registry), version.name, version.version)
    champion = beaten = None
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
    report = replace(report, rules=(*report.rules, *further(config, version, beaten)))
    for place in {run.run_id, version.run_id} - {""}:
        log_record(StepRun(place), f"gate/{version.name}-{version.version}.json", report.as_dict())
    registry.set_tags(version.name, version.version, {GATE: "passed" if report.passed else "refused"})
    record_gate(registry, version, report.as_dict())
    return report


def to_champion(
    config: Config, version: ModelVersion, report: GateReport, why: Why, picture: Path | None = None
) -> Promotion:
    """Make `version` the champion and have it go live; nothing of it if the gate refused, unless forced.

    picture: an image that the version is asked about besides its golden requests.
    """
    from pipeline.reconcile.settle import settle
    from pipeline.reconcile.world import open_world

    if not (report.passed or why.force):
        return Promotion(None, report)
    change = Change(
        name=version.name,
        version=version.version,
        action="promote",
        expected_champion=report.against,
        actor=actor(),
        origin=why.origin,
        reason=why.reason,
        forced=why.force and (not report.passed or ROLLED_BACK in version.tags),
        gate_report=report,
    )
    with open_world(config, picture) as world:
        # Before the alias moves: what cannot be published changes nothing.
        publish(config, world.registry, version)
        entry = move_champion(world.registry, world.ledger, change)
        return Promotion(entry, report, settle(world, version.name, version.version, CHAMPION))


def to_challenger(config: Config, version: ModelVersion, reason: str) -> Promotion:
    """Make `version` the challenger and have servers load it as the canary; what is live stays."""
    from pipeline.reconcile.settle import settle
    from pipeline.reconcile.world import open_world

    with open_world(config) as world:
        publish(config, world.registry, version)
        champion = world.registry.aliases(version.name).get(CHAMPION)
        change = Change(version.name, version.version, "promote", champion, actor(), reason=reason)
        entry = move_challenger(world.registry, world.ledger, change)
        return Promotion(entry, None, settle(world, version.name, version.version, CHALLENGER))


def open_ledger(registry: Registry) -> Ledger:
    """The ledger that belongs to this registry."""
    from registry.database import default_database_url

    return Ledger(default_database_url(registry.tracking_uri))


def champion_and_previous(registry: Registry, ledger: Ledger, name: str) -> tuple[int | None, int | None]:
    """The live version's number, and the one that a rollback would bring back."""
    champion = registry.aliases(name).get(CHAMPION)
    return champion, None if champion is None else ledger.previous_champion(name, champion)
