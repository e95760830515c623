"""A pass: for each served model, what the registry wants, what is there, and the steps between them."""

import logging
import time
from collections.abc import Collection
from dataclasses import replace

from pipeline.reconcile.apply import Application, check_still_wanted, write_configs
from pipeline.reconcile.config import RESTORE
from pipeline.reconcile.plan import Fact, differences, plan, without
from pipeline.reconcile.report import ModelReport, Report
from pipeline.reconcile.serving import MovedOnError, RefusedError, ServerReport
from pipeline.reconcile.steps import Ask, Load, Publish, Step
from pipeline.reconcile.world import World, read_fact, read_intent
from registry.client import RegisteredModel
from registry.deployment import note
from registry.entities import PRODUCTION, STAGING
from registry.intent import Intent, Seen, save_seen
from registry.ledger import CHALLENGER, CHAMPION
from registry.promote import Refusal, record_refused
from serving.model_config import Wanted
from slipway.errors import SlipwayError

_LOG = logging.getLogger(__name__)
_FOLLOW_S, _LOOK_S = 3.0, 0.2
_ROUNDS = 5  # a model whose aliases move faster than that is for the next pass


def reconcile_once(world: World, names: Collection[str] | None = None, *, dry_run: bool = False) -> Report:
    """Close the difference for the models `names`, or for all that are served; with `dry_run`, only say how.

    Hold the lease "reconcile" around it. A model that fails does not keep the others from theirs; UnavailableError if
    the registry or the ledger cannot be read at all.
    """
    if names is None:
        also = {world.config.name, *world.config.reconcile.model_names}
        models = world.registry.served_models(also)
    else:
        models = tuple(world.registry.model(name) for name in names)
    return Report(tuple(_reconciled(world, model, dry_run=dry_run) for model in models), dry_run)


def _reconciled(world: World, model: RegisteredModel, *, dry_run: bool) -> ModelReport:
    report = ModelReport(model.name)
    try:
        for _ in range(_ROUNDS):
            try:
                if _round(world, model, report, dry_run=dry_run):
                    return report
            except MovedOnError as moved:
                report.done.append(str(moved).partition(". Plan")[0])
            model = world.registry.model(model.name)
        report.left.append(f"it changed {_ROUNDS} times while it was reconciled; the next pass goes on")
    except SlipwayError as error:
        report.failed = str(error)
    except Exception as error:  # noqa: BLE001  the other models are to have their pass
        _LOG.exception("%s", model.name)
        report.failed = f"failed in a way that was not foreseen: {type(error).__name__}: {error}"
    return report


def _round(world: World, model: RegisteredModel, report: ModelReport, *, dry_run: bool) -> bool:
    """Plan and do what is planned; whether that was all: a refusal changes what is to be done."""
    intent, seen = read_intent(world, model)
    fact = read_fact(world, model, intent, seen)
    made = plan(intent, fact, allow_retire=world.config.reconcile.allow_retire)
    report.notes[:] = made.notes
    if dry_run:
        report.done += [step.text for step in made.steps]
        report.left += differences(fact.servers, made.final)
        return True
    application = Application(world, intent, fact, report)
    if made.steps:  # it was read with all the others, and some of these may have taken long
        check_still_wanted(intent, fact, world.registry.model(model.name))
    for step in made.steps:
        try:
            application.do(step)
        except RefusedError as refused:
            if _version_of(step) == fact.live:
                report.failed = f"version {fact.live} is live, and {step.text} failed: {refused}"
                return True
            _refuse(world, intent, fact, step, str(refused))
            report.refused[_version_of(step)] = str(refused)
            return False
    world.check()
    converged = world.converge(model.name, made.final, world.check)
    report.done += converged
    if made.steps or converged:
        fact = replace(fact, servers=_followed(world, model.name, made.final))
    report.notes += [f"{each.address}: {each.left_out}" for each in fact.servers if each.left_out and made.steps]
    report.left += differences(fact.servers, made.final)
    return True


def _followed(world: World, name: str, final: Wanted) -> tuple[ServerReport, ...]:
    """What servers say once they have read the config files, or after the time that they should need for it."""
    deadline = time.monotonic() + _FOLLOW_S
    while True:
        servers = world.serving.report(name)
        if not differences(servers, final) or time.monotonic() > deadline:
            return servers
        time.sleep(_LOOK_S)


def _version_of(step: Step) -> int:
    assert isinstance(step, Publish | Load | Ask)
    return step.version


def _refuse(world: World, intent: Intent, fact: Fact, step: Step, reason: str) -> None:
    """Config files, the version's tags, ledger and alias, in this order: then the refusal is done with."""
    name, version = fact.model.name, _version_of(step)
    check_still_wanted(intent, fact, world.registry.model(name))
    now = read_fact(world, fact.model, intent, fact.seen)
    back = without(now, version)
    if back is not None:
        write_configs(world, name, back)
    note(world.registry, name, version, "refused", reason, world.clock())
    restore = world.config.reconcile.on_refusal == RESTORE
    record_refused(world.registry, world.ledger, Refusal(name, version, now.live, reason), restore=restore)
    assert isinstance(step, Publish | Load | Ask)
    save_seen(world.ledger, name, _seen_after(fact, step.role, version, now.live, restore=restore))


def _seen_after(fact: Fact, role: str, version: int, live: int | None, *, restore: bool) -> Seen:
    aliases, stages = fact.model.aliases, fact.model.stages
    seen = Seen(
        aliases.get(CHAMPION), aliases.get(CHALLENGER), stages.get(PRODUCTION), stages.get(STAGING), refused=version
    )
    if not restore:
        return seen
    if role == CHAMPION:
        champion = live if seen.champion == version else seen.champion
        production = live if seen.production in {None, version, live} else seen.production
        return replace(seen, champion=champion, production=production)
    return replace(
        seen,
        challenger=None if seen.challenger == version else seen.challenger,
        staging=None if seen.staging == version else seen.staging,
    )
