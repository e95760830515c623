"""One look at a rollout: begin one, judge what came since the last look, and do what follows."""

import secrets
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from typing import Any

from pipeline.reconcile.settle import settle
from pipeline.reconcile.world import World
from pipeline.rollout.arms import Look, counters_of, look_between
from pipeline.rollout.decision import UNDECIDED, Judgement, judge
from pipeline.rollout.ending import (
    finish_abort,
    finish_leaving,
    finish_promotion,
    give_traffic,
    is_promoted,
    present_traffic,
    take_traffic,
)
from pipeline.rollout.policy import RolloutPolicy
from pipeline.rollout.progress import Progress
from pipeline.rollout.reading import read_servers
from pipeline.rollout.record import noted, recorded
from pipeline.rollout.report import RolloutReport, Verdict
from pipeline.rollout.state import Phase, RolloutState, keep_state, load_state
from registry.client import ModelVersion
from registry.deployment import ROLLED_BACK
from registry.gate import GateReport
from registry.ledger import CHALLENGER, CHAMPION
from slipway.errors import InputError, IntegrityError, NotFoundError, UnavailableError

# What the evidence so far was gathered by: another value would need another rollout.
_FIXED = (
    "steps",
    "measures",
    "total_error",
    "error_margin",
    "error_tolerance",
    "latency_margin",
    "latency_tolerance",
    "accuracy_margin",
    "accuracy_tolerance",
    "shadow",
)


ChoosePolicy = Callable[[RolloutPolicy | None], RolloutPolicy]


@dataclass(frozen=True)
class Conduct:
    """What a rollout is conducted with. policy: what is asked for, given the one that it began with."""

    world: World
    policy: ChoosePolicy
    gate: Callable[[ModelVersion], GateReport]


@dataclass(frozen=True)
class Outcome:
    """What a look came to.

    report: None where nothing was judged. refused: why no rollout began, or its end was not the one that was judged.
    ended: how the rollout ended, aborted, promoted or left; "" while it goes on.
    """

    report: RolloutReport | None
    refused: str = ""
    ended: str = ""

    @property
    def aborted(self) -> bool:
        return bool(self.refused) or self.ended in {"aborted", "left"}

    @property
    def is_last(self) -> bool:
        """Whether there is nothing more to look at, or its longest time is over without a decision."""
        undecided = self.report is not None and self.report.reason.startswith(UNDECIDED)
        return bool(self.refused or self.ended) or undecided

    def text(self) -> str:
        """For a terminal."""
        lines = [] if self.report is None else [self.report.table()]
        lines += [f"refused: {self.refused}"] if self.refused else []
        return "\n".join([*lines, *([f"the rollout has ended: {self.ended}"] if self.ended else [])])

    def as_dict(self) -> dict[str, Any]:
        """Plain JSON values."""
        report = None if self.report is None else self.report.as_dict()
        return {"report": report, "refused": self.refused, "ended": self.ended}


def look(conduct: Conduct) -> Outcome:
    """Look once; hold the lease "rollout NAME" around it.

    Begins a rollout of the challenger where none is under way. Whatever a look that was killed had left half done is
    finished first.

    Raises:
        InputError: there is no challenger, or it was rolled back from; or the policy given is not the one that the
            evidence was gathered by.
        ConflictError: another process conducts the rollout now, or moves an alias.
        UnavailableError: no server tells what it saw, or the registry is away; the traffic stays as it is, but for a
            candidate that is to be aborted.
    """
    world = conduct.world
    state = load_state(world.ledger, world.config.name)
    if state is None or state.is_over:
        return _begin(conduct)
    if state.phase != "running":
        return _finish(conduct, recorded_report(state), state)
    state, away, moved = replace(state, policy=_policy(conduct, state)), None, ""
    try:
        state = recorded(world, state)
        moved = _moved(world, state)
    except UnavailableError as error:
        away = error
    if moved:
        return _end(conduct, state, replace(state, phase="leaving", reason=moved), "abort")
    observations, notes = read_servers(state.policy.addresses, state.name, _versions(state))
    seen, counters = look_between(state.counters, counters_of(observations, _versions(state)), _versions(state))
    judgement = judge(state.policy, state.progress, seen, world.clock() - state.started_s)
    if away is not None and judgement.verdict != "abort":
        raise away  # what came since is still there for the next look; only the end of bad traffic cannot wait
    return _follow(conduct, replace(state, counters=counters), judgement, notes)


def abort(conduct: Conduct, reason: str) -> Outcome:
    """End the rollout that is under way, for a person's reason; one whose candidate is champion already is promoted."""
    world = conduct.world
    state = load_state(world.ledger, world.config.name)
    if state is None or state.is_over:
        raise NotFoundError(
            f"{world.config.name} has no rollout under way; expected one to abort. See `slipway history`."
        )
    if state.phase == "promoting":
        take_traffic(world, state)
        if not is_promoted(world, state):
            return _withheld(conduct, state, "aborting", reason)
    if state.phase != "running":
        return _finish(conduct, recorded_report(state), state)
    ending = replace(state, phase="aborting", reason=reason)
    return _end(conduct, state, ending, "abort")


def recorded_report(state: RolloutState) -> RolloutReport | None:
    """What a look that was killed had decided, if that is not recorded yet."""
    if state.unrecorded is None:
        return None
    return RolloutReport.from_dict(state.unrecorded["report"])


def _begin(conduct: Conduct) -> Outcome:
    world, policy = conduct.world, conduct.policy(None)
    name = world.config.name
    aliases = world.registry.aliases(name)
    if CHAMPION not in aliases or CHALLENGER not in aliases:
        missing = CHAMPION if CHAMPION not in aliases else CHALLENGER
        raise InputError(
            f"{name} has no alias {missing}; expected a champion that is live and a challenger beside it. "
            f"Run: slipway promote --name {name} --version N --to {missing}"
        )
    version = aliases[CHALLENGER]
    candidate = world.registry.version(name, version)
    if ROLLED_BACK in candidate.tags:
        raise InputError(
            f"{name} version {version} was rolled back from ({candidate.tags[ROLLED_BACK]}), so a rollout could not "
            "promote it; expected another challenger. Register a better one, or promote it by --force --reason TEXT."
        )
    gate = conduct.gate(candidate)
    if not gate.passed:
        return Outcome(None, refused=f"the gate refuses version {version}, so it could not be promoted\n{gate.table()}")
    settled = settle(world, name, version, CHALLENGER).of(name)
    if version in settled.refused:
        return Outcome(None, refused=settled.refused[version])
    if settled.failed:
        raise UnavailableError(f"{name} version {version} is not loaded as the canary yet: {settled.failed}")
    state = RolloutState(secrets.token_hex(8), name, version, aliases[CHAMPION], policy, world.clock())
    state = replace(state, standing=present_traffic(world, name))
    observations, notes = read_servers(state.policy.addresses, state.name, _versions(state))
    _, counters = look_between({}, counters_of(observations, _versions(state)), _versions(state))
    judgement = judge(policy, Progress(), Look())
    begun = replace(judgement, verdict="hold", reason=f"begun with {policy.plan[0]} of the traffic")
    return _follow(conduct, replace(state, counters=counters), begun, notes)


def _follow(conduct: Conduct, state: RolloutState, judgement: Judgement, notes: tuple[str, ...]) -> Outcome:
    """Do what was judged: what is kept first, so that a look after a kill comes to the same."""
    world = conduct.world
    report = _report(world, state, judgement, notes)  # of the step that was judged
    state = noted(replace(state, progress=judgement.progress), report)
    if judgement.verdict in {"abort", "promote"}:
        phase: Phase = "aborting" if judgement.verdict == "abort" else "promoting"
        return _finish(conduct, report, replace(state, phase=phase, reason=judgement.reason))
    keep_state(world, state)
    give_traffic(world, state)
    recorded(world, state)
    return Outcome(report)


def _end(conduct: Conduct, state: RolloutState, ending: RolloutState, verdict: Verdict) -> Outcome:
    """End it as `ending` says, without a look at the servers."""
    judgement = judge(state.policy, state.progress, Look())
    judgement = replace(judgement, verdict=verdict, reason=ending.reason)
    report = _report(conduct.world, state, judgement, ())
    return _finish(conduct, report, noted(replace(ending, progress=judgement.progress), report))


def _finish(conduct: Conduct, report: RolloutReport | None, state: RolloutState) -> Outcome:
    world = conduct.world
    if state.phase == "promoting":
        return _promote(conduct, report, state)
    ended = (finish_leaving if state.phase == "leaving" else finish_abort)(world, state)
    return Outcome(report, ended=ended.phase)


def _promote(conduct: Conduct, report: RolloutReport | None, state: RolloutState) -> Outcome:
    world = conduct.world
    keep_state(world, state)
    gate = None
    last = world.ledger.last(state.name, CHAMPION)
    # By the ledger: of a look that was killed between alias and entry, the next pass would think that somebody clicked.
    if last is None or last.to_version != state.version:
        gate = conduct.gate(world.registry.version(state.name, state.version))
        if gate.against != state.against:
            return _withheld(conduct, state, "leaving", _moved(world, state))
        if not gate.passed:
            refused = f"the gate refuses it: {', '.join(rule.rule for rule in gate.rules if not rule.passed)}"
            return _withheld(conduct, state, "aborting", refused)
    state = recorded(world, state)
    try:
        ended = finish_promotion(world, state, gate)
    except (InputError, IntegrityError) as error:
        if is_promoted(world, state):
            raise
        return _withheld(conduct, state, "aborting", f"it could not be promoted: {error}")
    return Outcome(report, ended.reason if ended.phase == "aborted" else "", ended.phase)


def _withheld(conduct: Conduct, state: RolloutState, phase: Phase, reason: str) -> Outcome:
    """End a rollout otherwise than by the promotion that was judged; that verdict is recorded first."""
    state = recorded(conduct.world, state)
    return _end(conduct, state, replace(state, phase=phase, reason=reason), "abort")


def _report(world: World, state: RolloutState, judgement: Judgement, notes: tuple[str, ...]) -> RolloutReport:
    plan, before = state.policy.plan, state.progress.step
    return RolloutReport(
        name=state.name,
        version=state.version,
        against=state.against,
        look=judgement.progress.looks,
        step=str(plan[before]),
        steps=tuple(str(step) for step in plan),
        share=plan[before].share,
        answered=judgement.answered,
        least=state.policy.least_requests,
        elapsed_s=world.clock() - state.started_s,
        verdict=judgement.verdict,
        reason=judgement.reason,
        lines=judgement.lines,
        notes=notes,
    )


def _moved(world: World, state: RolloutState) -> str:
    """Who is what now, if champion or challenger are not those that the rollout is about; else ""."""
    aliases = world.registry.aliases(state.name)
    champion, challenger = aliases.get(CHAMPION), aliases.get(CHALLENGER)
    if (champion, challenger) == (state.against, state.version):
        return ""
    return (
        f"somebody moved what it was about: champion is version {champion} and challenger version {challenger}, "
        f"it was of version {state.version} beside version {state.against}"
    )


def _policy(conduct: Conduct, state: RolloutState) -> RolloutPolicy:
    begun = state.policy
    given = conduct.policy(begun)
    differing = [key for key in _FIXED if getattr(given, key) != getattr(begun, key)]
    if differing:
        shown = ", ".join(f"{key} {asdict(begun)[key]!r}" for key in differing)
        raise InputError(
            f"{state.name}: the rollout of version {state.version} began with {shown}; expected the same. Go on with "
            "that, or end it first by --abort --reason TEXT."
        )
    return given


def _versions(state: RolloutState) -> tuple[int, int]:
    return state.against, state.version
