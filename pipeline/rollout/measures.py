"""The measures that can abort: what of a look they read as good and bad outcomes, and the bets on them."""

import dataclasses
import math
from bisect import bisect_left, bisect_right
from functools import cache

import numpy as np

from pipeline.rollout.arms import Look
from pipeline.rollout.evidence import (
    Alternatives,
    Trials,
    Wealth,
    better,
    growth,
    growth_alone,
    log_mean,
    upper_limit,
    worse,
)
from pipeline.rollout.policy import ERRORS, LATENCY, RolloutPolicy
from pipeline.rollout.progress import Account, Evidence, Progress
from serving.observations import LATENCY_BOUNDS_MS, Latencies

QUANTILE = 0.95
_LEAST_LATENCIES = 200  # of the stable version, before its 95th percentile is taken for known
_ANY_RATES = (0.0, 0.002, 0.01, 0.03, 0.06, 0.12, 0.25, 0.5)
_RATES_AT_THE_QUANTILE = (0.03, 0.05, 0.08)
_LARGEST_EXCESS = 0.9
_CEILINGS_PART = 0.1  # of a measure's error, for the limit of the stable version's rate


@dataclasses.dataclass(frozen=True)
class _Outcomes:
    """What a look holds for one claim; `excess` is the claim's, in rates."""

    stable: Trials
    canary: Trials
    excess: float


def updated(policy: RolloutPolicy, measure: str, progress: Progress, look: Look) -> Evidence:
    """The measure's evidence with what `look` adds; `progress` is what was before it."""
    before = progress.evidence.get(measure, Evidence())
    if not before.harmless:
        before = dataclasses.replace(before, harmless=_capital(policy, measure))
    before = _with_account(policy, measure, progress.step, before)
    margin = _outcomes(measure, progress, look, policy.margin(measure), up=True)
    bets = _worse(measure, margin.excess)
    return Evidence(
        stable=before.stable.plus(margin.stable),
        canary=before.canary.plus(margin.canary),
        worse=tuple(_grown(account, margin, bets) for account in before.worse),
        harmless=tuple(
            wealth if step < progress.step else wealth + _harmless_growth(policy, measure, step, progress, look)
            for step, wealth in enumerate(before.harmless)
        ),
    )


def worse_evidence(policy: RolloutPolicy, evidence: Evidence) -> float:
    """How many times over the bets that the candidate is worse than its margin have grown, as a logarithm.

    Each step has the same part of the capital; those still to come keep theirs.
    """
    steps = len(policy.plan)
    parts = [log_mean(account.wealth) for account in evidence.worse] + [0.0] * (steps - len(evidence.worse))
    return log_mean(np.array(parts))


def harmless_evidence(evidence: Evidence, step: int) -> float:
    """The same of the bets that it is not worse than what `step` allows."""
    return log_mean(evidence.harmless[step]) if evidence.harmless else 0.0


def abort_at(policy: RolloutPolicy) -> float:
    """The logarithm of the growth at which a measure aborts: its part of the total error."""
    return -math.log(policy.total_error / len(policy.aborting) * (1 - _CEILINGS_PART))


def go_on_at(policy: RolloutPolicy) -> float:
    """The logarithm of the growth at which a measure lets a step be taken.

    The whole total error, not a part: all measures have to let it, so one that is bad by a single measure passes with
    that measure's error at most.
    """
    return -math.log(policy.total_error)


def _rates(measure: str) -> tuple[float, ...]:
    return _RATES_AT_THE_QUANTILE if measure == LATENCY else _ANY_RATES


def _capital(policy: RolloutPolicy, measure: str) -> tuple[Wealth, ...]:
    pairs = len(_better(measure, 0.0).stable)
    return tuple(np.zeros(pairs) for _ in policy.plan)


def _with_account(policy: RolloutPolicy, measure: str, step: int, evidence: Evidence) -> Evidence:
    if len(evidence.worse) > step:
        return evidence
    ceiling = None
    if policy.plan[step].share >= 100:
        error = policy.total_error / len(policy.aborting) * _CEILINGS_PART
        rate = upper_limit(evidence.stable, error)
        ceiling = rate if measure == LATENCY else rate + policy.margin(measure)
    wealth = np.zeros(len(_worse(measure, 0.0).stable))
    return dataclasses.replace(evidence, worse=(*evidence.worse, Account(wealth, ceiling)))


def _grown(account: Account, outcomes: _Outcomes, bets: Alternatives) -> Account:
    if account.ceiling is None:
        more = growth(outcomes.stable, outcomes.canary, bets, outcomes.excess)
    else:
        more = growth_alone(outcomes.canary, bets, account.ceiling)
    return dataclasses.replace(account, wealth=account.wealth + more)


def _harmless_growth(policy: RolloutPolicy, measure: str, step: int, progress: Progress, look: Look) -> Wealth:
    outcomes = _outcomes(measure, progress, look, policy.excess_allowed(measure, step))
    if measure == ERRORS and policy.plan[progress.step].shadow:
        return np.zeros(len(_better(measure, outcomes.excess).stable))
    return growth(outcomes.stable, outcomes.canary, _better(measure, outcomes.excess), outcomes.excess)


@cache
def _worse(measure: str, excess: float) -> Alternatives:
    return worse(_rates(measure), excess)


@cache
def _better(measure: str, excess: float) -> Alternatives:
    return better(_rates(measure), excess)


def _outcomes(measure: str, progress: Progress, look: Look, excess: float, *, up: bool = False) -> _Outcomes:
    stable, canary = look.stable, look.canary
    if measure == LATENCY:
        return _slow(progress, look, excess, up=up)
    if measure == ERRORS:
        # Only what the stable version answered is copied, so images that nobody can decode fail it alone: copies can
        # speak against the candidate, never for it.
        copies, failed = (0, 0) if up else (canary.copies, canary.failed_copies)
        pair = (
            Trials(stable.requests, stable.errors),
            Trials(canary.requests - copies, canary.errors - failed),
        )
    else:
        pair = (
            Trials(stable.labelled, stable.labelled - stable.correct),
            Trials(canary.labelled, canary.labelled - canary.correct),
        )
    return _Outcomes(*pair, min(excess, _LARGEST_EXCESS))


def _slow(progress: Progress, look: Look, excess: float, *, up: bool) -> _Outcomes:
    """Slow is above the 95th percentile that the stable version had until before this look.

    For the candidate that limit is higher by `excess`, as a share: equal rates then are percentiles that far apart. It
    lies on the next bound, upwards for a margin and downwards for a tolerance, so that no claim is refuted too easily.
    """
    limit = Latencies(counts=progress.stable.latencies).quantile(QUANTILE) if progress.stable.latencies else None
    if limit is None or sum(progress.stable.latencies) < _LEAST_LATENCIES:
        return _Outcomes(Trials(), Trials(), 0.0)
    own = bisect_left(LATENCY_BOUNDS_MS, limit)
    higher = limit * (1 + excess)
    others = bisect_left(LATENCY_BOUNDS_MS, higher) if up else bisect_right(LATENCY_BOUNDS_MS, higher) - 1
    return _Outcomes(_above(look.stable.latencies, own), _above(look.canary.latencies, others), 0.0)


def _above(latencies: tuple[int, ...], bound: int) -> Trials:
    return Trials(sum(latencies), sum(latencies[bound + 1 :]))
