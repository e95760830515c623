"""Rollouts without servers: what two versions do is drawn at random, and judged as the command judges it."""

from dataclasses import dataclass

import numpy as np

from pipeline.rollout.arms import Arm, Look
from pipeline.rollout.decision import judge
from pipeline.rollout.policy import RolloutPolicy
from pipeline.rollout.progress import Progress
from serving.observations import LATENCY_BOUNDS_MS, Moments

REQUESTS_A_LOOK = 1_000
MOST_LOOKS = 2_000


@dataclass(frozen=True)
class Behaviour:
    """A version as its traffic sees it; latencies are lognormal."""

    accuracy: float = 0.95
    errors: float = 0.0
    latency_ms: float = 20.0
    spread: float = 0.4


@dataclass(frozen=True)
class Simulated:
    """How a rollout ended: "promote", "abort", or "hold" if it never did. reason: of its last look."""

    verdict: str
    reason: str
    requests: int  # all of the traffic
    canary_requests: int


EQUAL = Behaviour()
KINDS = {
    "equal": EQUAL,
    "3 points less accurate": Behaviour(accuracy=0.92),
    "50 % slower": Behaviour(latency_ms=30.0),
    "errors on 2 %": Behaviour(errors=0.02),
}


def simulate(kind, seed, policy=None, requests_a_look=REQUESTS_A_LOOK):
    """One rollout of a candidate of that kind beside a stable version that has no fault."""
    policy = policy or RolloutPolicy()
    draw = np.random.default_rng([seed, *kind.encode()])
    progress, total, of_canary = Progress(), 0, 0
    for _ in range(MOST_LOOKS):
        share = policy.plan[progress.step].share / 100
        canary = int(draw.binomial(requests_a_look, share))
        look = Look(arm(EQUAL, requests_a_look - canary, draw), arm(KINDS[kind], canary, draw))
        total, of_canary = total + requests_a_look, of_canary + canary
        judgement = judge(policy, progress, look)
        progress = judgement.progress
        if judgement.verdict in {"abort", "promote"}:
            break
    return Simulated(judgement.verdict, judgement.reason, total, of_canary)


def arm(behaviour, requests, draw):
    """What a version does with that many requests, all of which get their true label."""
    milliseconds = behaviour.latency_ms * np.exp(behaviour.spread * draw.standard_normal(requests))
    places = np.searchsorted(LATENCY_BOUNDS_MS, milliseconds)
    confidence = draw.beta(9, 1, requests)
    errors = int(draw.binomial(requests, behaviour.errors))
    answered = requests - errors
    return Arm(
        requests=requests,
        errors=errors,
        labelled=answered,
        correct=int(draw.binomial(answered, behaviour.accuracy)),
        latencies=tuple(np.bincount(places, minlength=len(LATENCY_BOUNDS_MS) + 1).tolist()),
        confidence=Moments(requests, float(confidence.sum()), float((confidence**2).sum())),
    )


def table(results):
    """For each kind, how its rollouts ended and after how many requests, as a Markdown table."""
    lines = [
        "| candidate | rollouts | aborted | promoted | undecided | requests until then: 5 %, median, 95 % |",
        "|---|---|---|---|---|---|",
    ]
    for kind, ended in results.items():
        shares = [sum(each.verdict == verdict for each in ended) for verdict in ("abort", "promote", "hold")]
        low, middle, high = np.percentile([each.requests for each in ended], (5, 50, 95))
        cells = " | ".join(f"{count} ({count / len(ended):.2%})" for count in shares)
        lines.append(f"| {kind} | {len(ended)} | {cells} | {low:,.0f}, {middle:,.0f}, {high:,.0f} |")
    return "\n".join(lines)


def run(count, first=0):
    """That many rollouts of each kind, with seeds from `first`."""
    return {kind: [simulate(kind, seed) for seed in range(first, first + count)] for kind in KINDS}
