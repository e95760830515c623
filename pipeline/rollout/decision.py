"""What to do after a look: a pure function of the policy, what came before, and what the two versions did since.

Evidence that the candidate is worse than a margin aborts, at any look. Going on takes evidence too, for every measure
asked for: that at the next share the whole traffic loses no more than the tolerance. It also takes that there is little
evidence for an abort: between margin and tolerance, both may come, and an abort that is near is waited for. What nobody
measured holds. So of candidates within the margins at most `total_error` are aborted, and of those outside a tolerance
at most `total_error` are promoted, however often one looks (see `pipeline.rollout.evidence`).
"""

import dataclasses
import math
from dataclasses import dataclass

from pipeline.rollout.arms import Arm, Look
from pipeline.rollout.measures import (
    QUANTILE,
    abort_at,
    go_on_at,
    harmless_evidence,
    updated,
    worse_evidence,
)
from pipeline.rollout.policy import ABORT, ACCURACY, CONFIDENCE, ERRORS, LATENCY, RolloutPolicy
from pipeline.rollout.progress import Progress
from pipeline.rollout.report import MeasureLine, Standing, Verdict, grown
from serving.observations import Latencies, Moments

_DOUBT = math.log(10)  # evidence for an abort that no step is gone on from
_TIGHTEST_AT = 1000  # values; where the interval of a mean is narrowest for what it promises
UNDECIDED = "undecided"  # what a reason begins with once the longest time is over
_COPIES_ALONE = "not compared while it answers copies alone"
_COPIES_ACCUSE = "copies alone can only speak against it"
_MISSING = {
    ERRORS: "no request was answered by both",
    LATENCY: "no latency of both",
    ACCURACY: "no true labels of both came back: send them, or take accuracy out of the measures",
}


@dataclass(frozen=True)
class Judgement:
    """A look's verdict, why, a line a measure, and the progress to judge the next look with.

    answered: the candidate's requests in the step that was judged.
    """

    verdict: Verdict
    reason: str
    lines: tuple[MeasureLine, ...]
    answered: int
    progress: Progress


def judge(policy: RolloutPolicy, progress: Progress, look: Look, elapsed_s: float = 0.0) -> Judgement:
    """Judge a candidate by `look`, which came after `progress`; the rollout began `elapsed_s` ago.

    After "advance" the progress returned is that of the next step, with nothing answered in it yet.
    """
    copies_alone = bool(policy.plan[progress.step].shadow)
    evidence = {measure: updated(policy, measure, progress, look) for measure in policy.aborting}
    now = dataclasses.replace(
        progress,
        looks=progress.looks + 1,
        answered=progress.answered + look.canary.requests - (0 if copies_alone else look.canary.copies),
        stable=progress.stable.plus(look.stable),
        canary=progress.canary.plus(look.canary),
        evidence=evidence,
    )
    lines = (
        *(_aborting_line(policy, measure, now) for measure in policy.aborting),
        *(_holding_line(policy, measure, now) for measure in policy.holding),
    )
    verdict, reason = _verdict(policy, now, lines, elapsed_s)
    following = dataclasses.replace(now, step=now.step + 1, answered=0) if verdict == "advance" else now
    return Judgement(verdict, reason, lines, now.answered, following)


def _verdict(
    policy: RolloutPolicy, progress: Progress, lines: tuple[MeasureLine, ...], elapsed_s: float
) -> tuple[Verdict, str]:
    against = [line for line in lines if line.standing == "abort"]
    if against:
        return "abort", "; ".join(f"{line.measure}: {line.note}" for line in against)
    waits = [f"{line.measure}: {line.note}" for line in lines if line.standing in {"wait", "hold"}]
    if progress.answered < policy.least_requests:
        waits.insert(0, f"{progress.answered} of {policy.least_requests} requests in this step")
    if not waits:
        plan = policy.plan
        if progress.step + 1 < len(plan):
            return "advance", f"every measure lets it go on to {plan[progress.step + 1]}"
        return "promote", "every measure lets it take all of the traffic"
    reason = "; ".join(waits)
    if elapsed_s < policy.longest_s:
        return "hold", reason
    return ("abort" if policy.undecided == ABORT else "hold"), f"{UNDECIDED} after {elapsed_s:.0f} s: {reason}"


def _aborting_line(policy: RolloutPolicy, measure: str, progress: Progress) -> MeasureLine:
    evidence = progress.evidence[measure]
    worse, harmless = worse_evidence(policy, evidence), harmless_evidence(evidence, progress.step)
    canary, stable = _number(measure, progress.canary), _number(measure, progress.stable)
    line = MeasureLine(
        measure=measure,
        canary=canary,
        stable=stable,
        limit=policy.excess_allowed(measure, progress.step),
        standing="go on",
        worse=grown(worse),
        harmless=grown(harmless),
        abort_at=grown(abort_at(policy)),
        go_on_at=grown(go_on_at(policy)),
    )
    if worse >= abort_at(policy):
        note = f"worse by more than {policy.margin(measure):g} ({_shown(canary)} against {_shown(stable)})"
        return dataclasses.replace(line, standing="abort", note=note)
    if measure in {ERRORS, LATENCY} and policy.plan[progress.step].shadow:
        return dataclasses.replace(line, note=_COPIES_ALONE if measure == LATENCY else _COPIES_ACCUSE)
    if canary is None or stable is None:
        return dataclasses.replace(line, standing="wait", note=_MISSING[measure])
    if worse >= _DOUBT:
        note = f"perhaps worse by more than {policy.margin(measure):g}: neither shown nor unlikely"
        return dataclasses.replace(line, standing="wait", note=note)
    if harmless < go_on_at(policy):
        note = f"not shown yet to be less than {line.limit:g} worse"
        return dataclasses.replace(line, standing="wait", note=note)
    return line


def _number(measure: str, arm: Arm) -> float | None:
    if measure == ERRORS:
        return arm.errors / arm.requests if arm.requests else None
    if measure == ACCURACY:
        return arm.correct / arm.labelled if arm.labelled else None
    return Latencies(counts=arm.latencies).quantile(QUANTILE) if arm.latencies else None


def _holding_line(policy: RolloutPolicy, measure: str, progress: Progress) -> MeasureLine:
    if measure == CONFIDENCE:
        return _confidence_line(policy, progress)
    return _disagreement_line(policy, progress.canary)


def _confidence_line(policy: RolloutPolicy, progress: Progress) -> MeasureLine:
    limit, canary, stable = policy.confidence_margin, progress.canary.confidence, progress.stable.confidence
    if policy.plan[progress.step].shadow:
        return MeasureLine(CONFIDENCE, None, None, limit, "go on", _COPIES_ALONE)
    if not canary.count or not stable.count:
        return MeasureLine(CONFIDENCE, None, None, limit, "wait", "no confidence of both")
    means = canary.sum / canary.count, stable.sum / stable.count
    width = _half_width(canary, policy.total_error / 2) + _half_width(stable, policy.total_error / 2)
    low, high = means[0] - means[1] - width, means[0] - means[1] + width
    beyond = low > limit or high < -limit
    return MeasureLine(
        CONFIDENCE,
        *means,
        limit,
        "hold" if beyond else "go on",
        f"the means differ by more than {limit:g}: look at the candidate's answers, then widen the margin or abort"
        if beyond
        else "",
        low=low,
        high=high,
    )


def _disagreement_line(policy: RolloutPolicy, canary: Arm) -> MeasureLine:
    limit = policy.disagreement_limit
    if not canary.compared:
        return MeasureLine("disagreement", None, None, limit, "wait", "no copy was compared with its answer")
    share = canary.disagreed / canary.compared
    width = _half_width(Moments(canary.compared, canary.disagreed, canary.disagreed), policy.total_error)
    beyond = share - width > limit
    note = "the first classes differ more often: look at where, then raise the limit or abort" if beyond else ""
    standing: Standing = "hold" if beyond else "go on"
    return MeasureLine("disagreement", share, None, limit, standing, note, low=share - width, high=share + width)


def _half_width(moments: Moments, error: float) -> float:
    """Half the width of an interval that holds the mean at every moment at once, but for a chance of about `error`.

    The asymptotic confidence sequence, theorem 2.2, of I. Waudby-Smith, D. Arbour, R. Sinha, E. H. Kennedy, A. Ramdas,
    Time-uniform central limit theory and asymptotic confidence sequences (Annals of Statistics, 2024).
    """
    count = moments.count
    mean = moments.sum / count
    deviation = math.sqrt(max(moments.sum_squares / count - mean * mean, 0.0))
    tightness = (-2 * math.log(error) + math.log(-2 * math.log(error) + 1)) / _TIGHTEST_AT
    scaled = count * tightness + 1
    return deviation * math.sqrt(2 * scaled / (count * count * tightness) * math.log(math.sqrt(scaled) / error))


def _shown(number: float | None) -> str:
    return "none" if number is None else f"{number:.4g}"
