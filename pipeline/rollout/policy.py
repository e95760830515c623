"""How a rollout goes: its steps, what is compared and how exactly, and when it gives up."""

import itertools
import math
from dataclasses import dataclass, fields
from functools import cached_property
from typing import NamedTuple

from slipway.errors import InputError

ERRORS, LATENCY, ACCURACY = "errors", "latency", "accuracy"
CONFIDENCE, DISAGREEMENT = "confidence", "disagreement"
ABORTING = (ERRORS, LATENCY, ACCURACY)  # evidence against one of these ends a rollout
HOLDING = (CONFIDENCE, DISAGREEMENT)  # these stop it from going on: two good networks differ too
HOLD, ABORT = "hold", "abort"

_RANGES = {
    "least_requests": (1, math.inf),
    "total_error": (1e-6, 0.2),
    "error_margin": (0.0, 0.5),
    "error_tolerance": (1e-4, 0.5),
    "latency_margin": (0.0, 10.0),
    "latency_tolerance": (0.05, 10.0),
    "accuracy_margin": (0.0, 0.5),
    "accuracy_tolerance": (1e-3, 0.5),
    "confidence_margin": (0.0, 1.0),
    "disagreement_limit": (0.0, 1.0),
    "shadow": (0.0, 100.0),
    "look_interval_s": (0.1, 86_400.0),
    "longest_s": (1.0, math.inf),
}


class Step(NamedTuple):
    """One step: percent of the traffic that the candidate answers, and of the rest that it is sent copies of."""

    share: float
    shadow: float = 0.0

    def __str__(self) -> str:
        return f"shadow {self.shadow:g} %" if self.shadow else f"{self.share:g} %"


@dataclass(frozen=True)
class RolloutPolicy:
    """A rollout's limits; values outside their ranges, and those that do not go together, raise InputError.

    A margin is how much worse the candidate may be: evidence that it is worse by more aborts. A tolerance is what the
    whole traffic may lose: a step is taken only on evidence that at its share no more than this is lost, and promotion
    as a step to all of it.

    Attributes:
        steps: percent of the traffic, rising, separated by commas.
        least_requests: that the candidate has to answer in each step.
        measures: of errors, latency, accuracy (these can abort), confidence and disagreement (these can only hold).
        total_error: of aborting a candidate that is within the margins, or promoting one that is outside a tolerance,
            over all measures and looks together.
        error_margin, error_tolerance: more requests that fail, as a share of all.
        latency_margin, latency_tolerance: higher 95th percentile, as a share of the stable version's.
        accuracy_margin, accuracy_tolerance: less accurate where true labels came back, as a share of labelled images.
        confidence_margin: difference of mean confidence, either way.
        disagreement_limit: share of copied requests of which the first classes differ; needs `shadow`.
        shadow: percent of the requests that the candidate is sent copies of, in a step before the first; 0 for none.
        key_header: header by whose value a client stays with one version, in lower case; empty: none.
        rest_servers: REST addresses of the embedded servers that answer the traffic, separated by commas.
        look_interval_s: seconds between looks while watching.
        longest_s: seconds after which a rollout that is still undecided is `undecided`.
        undecided: hold (the traffic stays as it is) or abort.
    """

    steps: str = "5,25,50,100"
    least_requests: int = 500
    measures: str = "errors,latency,accuracy,confidence"
    total_error: float = 0.01
    error_margin: float = 0.0
    error_tolerance: float = 0.01
    latency_margin: float = 0.2
    latency_tolerance: float = 0.5
    accuracy_margin: float = 0.0
    accuracy_tolerance: float = 0.03
    confidence_margin: float = 0.1
    disagreement_limit: float = 0.2
    shadow: float = 0.0
    key_header: str = ""
    rest_servers: str = "http://127.0.0.1:8501"
    look_interval_s: float = 10.0
    longest_s: float = 86_400.0
    undecided: str = HOLD

    def __post_init__(self) -> None:
        problems = [*self._out_of_range(), *self._contradictions()]
        if problems:
            raise InputError(f"rollout policy: {'; '.join(problems)}. Edit the policy.")

    @cached_property
    def plan(self) -> tuple[Step, ...]:
        """The steps in order, the one with copies alone before the others if there is one."""
        shadow = (Step(0.0, self.shadow),) if self.shadow else ()
        return (*shadow, *(Step(float(share)) for share in _listed(self.steps)))

    @cached_property
    def aborting(self) -> tuple[str, ...]:
        """The measures asked for that can abort."""
        return tuple(name for name in ABORTING if name in _listed(self.measures))

    @property
    def holding(self) -> tuple[str, ...]:
        """The measures asked for that can only hold."""
        return tuple(name for name in HOLDING if name in _listed(self.measures))

    @property
    def addresses(self) -> tuple[str, ...]:
        """The servers' REST addresses."""
        return tuple(_listed(self.rest_servers))

    def margin(self, measure: str) -> float:
        """How much worse by an aborting measure the candidate may be; evidence of more aborts."""
        return {ERRORS: self.error_margin, LATENCY: self.latency_margin, ACCURACY: self.accuracy_margin}[measure]

    def excess_allowed(self, measure: str, step: int) -> float:
        """How much worse the candidate may be, so that after step `step` the whole traffic loses the tolerance."""
        tolerance = {
            ERRORS: self.error_tolerance,
            LATENCY: self.latency_tolerance,
            ACCURACY: self.accuracy_tolerance,
        }[measure]
        return tolerance * 100 / self.share_after(step)

    def share_after(self, step: int) -> float:
        """The percentage that the candidate answers once step `step` is done: the next one's, or all after the last."""
        plan = self.plan
        return plan[step + 1].share if step + 1 < len(plan) else 100.0

    def _out_of_range(self) -> list[str]:
        problems = []
        for field in fields(self):
            if field.name not in _RANGES:
                continue
            value = getattr(self, field.name)
            low, high = _RANGES[field.name]
            whole = field.type is int
            number = isinstance(value, int if whole else (int, float)) and not isinstance(value, bool)
            if not (number and low <= value <= high):
                kind = "whole number" if whole else "number"
                limits = f"from {low:g}" if high == math.inf else f"from {low:g} to {high:g}"
                problems.append(f"{field.name} is {value!r}; expected a {kind} {limits}")
        return problems

    def _contradictions(self) -> list[str]:
        problems = []
        if not _are_steps(self.steps):
            problems.append(
                f"steps is {self.steps!r}; expected rising percentages above 0 and up to 100, as 5,25,50,100"
            )
        known, asked = (*ABORTING, *HOLDING), _listed(self.measures)
        if not set(asked) <= set(known) or not set(asked) & set(ABORTING):
            problems.append(
                f"measures is {self.measures!r}; expected some of {', '.join(known)}, "
                f"one of {', '.join(ABORTING)} at least"
            )
        if DISAGREEMENT in asked and not self.shadow:
            problems.append("measures has disagreement, and shadow is 0; expected a share of copies to compare, as 10")
        if self.undecided not in {HOLD, ABORT}:
            problems.append(f"undecided is {self.undecided!r}; expected {HOLD} or {ABORT}")
        if not self.addresses:
            problems.append("rest_servers is empty; expected an address, as http://127.0.0.1:8501")
        problems += [
            f"{what}_margin is {self.margin(measure):g} and {what}_tolerance "
            f"{self.excess_allowed(measure, len(self.plan) - 1):g}; expected a margin below its tolerance"
            for what, measure in (("error", ERRORS), ("latency", LATENCY), ("accuracy", ACCURACY))
            if not problems and self.margin(measure) >= self.excess_allowed(measure, len(self.plan) - 1)
        ]
        return problems


def _listed(text: str) -> list[str]:
    return [item.strip() for item in text.split(",") if item.strip()]


def _are_steps(text: str) -> bool:
    try:
        shares = [float(share) for share in _listed(text)]
    except ValueError:
        return False
    rising = all(one < next_one for one, next_one in itertools.pairwise(shares))
    return bool(shares) and rising and shares[0] > 0 and shares[-1] <= 100
