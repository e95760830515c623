"""How far a rollout's judgement is: what was seen so far, and the bets that stand. Plain JSON both ways."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from pipeline.rollout.arms import Arm, arm_from
from pipeline.rollout.evidence import Trials, Wealth


@dataclass(frozen=True, eq=False)
class Account:
    """Bets that were opened with a step, so that a good past does not shield a candidate that goes bad later.

    ceiling: what the stable version's rate was at most, for a step in which it answers nothing; None: it is beside.
    """

    wealth: Wealth
    ceiling: float | None = None


@dataclass(frozen=True, eq=False)
class Evidence:
    """Of one measure: the trials so far, the bets that the candidate is worse, and those that it is not.

    worse: an account for each step begun. harmless: wealth for each step's claim "worse by what it allows at least".
    """

    stable: Trials = field(default_factory=Trials)
    canary: Trials = field(default_factory=Trials)
    worse: tuple[Account, ...] = ()
    harmless: tuple[Wealth, ...] = ()


@dataclass(frozen=True, eq=False)
class Progress:
    """What a rollout has come to.

    step: its place in the policy's plan. answered: the candidate's requests in this step. stable, canary: everything
    since the rollout began.
    """

    step: int = 0
    answered: int = 0
    looks: int = 0
    stable: Arm = field(default_factory=Arm)
    canary: Arm = field(default_factory=Arm)
    evidence: Mapping[str, Evidence] = field(default_factory=dict)

    def as_dict(self) -> dict[str, Any]:
        """Plain JSON values, for `progress_from`."""
        return {
            "step": self.step,
            "answered": self.answered,
            "looks": self.looks,
            "stable": self.stable.as_dict(),
            "canary": self.canary.as_dict(),
            "evidence": {name: _as_dict(each) for name, each in self.evidence.items()},
        }


def progress_from(document: Mapping[str, Any]) -> Progress:
    """What `Progress.as_dict` wrote."""
    return Progress(
        step=int(document["step"]),
        answered=int(document["answered"]),
        looks=int(document["looks"]),
        stable=arm_from(document["stable"]),
        canary=arm_from(document["canary"]),
        evidence={name: _evidence_from(each) for name, each in document["evidence"].items()},
    )


def _as_dict(evidence: Evidence) -> dict[str, Any]:
    return {
        "stable": list(evidence.stable),
        "canary": list(evidence.canary),
        "worse": [{"wealth": account.wealth.tolist(), "ceiling": account.ceiling} for account in evidence.worse],
        "harmless": [wealth.tolist() for wealth in evidence.harmless],
    }


def _evidence_from(document: Mapping[str, Any]) -> Evidence:
    return Evidence(
        stable=Trials(*document["stable"]),
        canary=Trials(*document["canary"]),
        worse=tuple(Account(np.array(each["wealth"]), each["ceiling"]) for each in document["worse"]),
        harmless=tuple(np.array(wealth) for wealth in document["harmless"]),
    )
