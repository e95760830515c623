"""Evidence that may be looked at as often as one likes: bets against a claim, whose wealth is the evidence.

Each request goes well or badly. A claim says how much more often the candidate's go badly than the stable version's:
"by no more than x", or "by x at least". Bets are placed on the outcomes so that, whatever the two rates, their expected
wealth never grows while the claim is true. So the claim is refuted when the wealth has grown 1/error-fold, at whatever
moment one looks, with a chance of at most `error` of refuting a true one (Ville's inequality).

The bets are those of R. Turner, A. Ly, P. Grünwald, "Safe tests for 2x2 contingency tables" (2021; later named Generic
E-variables for exact sequential k-sample tests that allow for optional stopping), with a difference of the rates as in
R. Turner, P. Grünwald, Exact anytime-valid confidence intervals for contingency tables and beyond (2023), written as
in I. Waudby-Smith, A. Ramdas, Estimating means of bounded random variables by betting (2024). A block of n stable and m
candidate's outcomes y (1: bad) multiplies the wealth by

    prod over the candidate's (1 + bet (y - center - excess))  *  prod over the stable ones (1 - m/n bet (y - center))

whose expectation is at most exp(m bet (candidate's rate - stable rate - excess)): at most 1 under "no more than excess"
for a positive bet, and under "excess at least" for a negative one. The rates may change from block to block, with the
time of day; only within a block each is one rate. `center` and `bet` are those that grow the wealth fastest under an
alternative; many alternatives each get a part of the capital, and the wealth is their mean.
"""

import math
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

Wealth = npt.NDArray[np.float64]  # natural logarithms, one for each alternative

_EFFECTS = (0.01, 0.02, 0.04, 0.08, 0.16, 0.32)  # how much worse than the claim
_FRACTIONS = (0.05, 0.25, 0.5, 0.7, 0.85, 0.95)  # how much better: a part of the rate at the claim's edge
_LEAST_RATE = 1e-4
_LARGEST_STAKE = 0.99  # of the wealth, on one outcome


class Trials(NamedTuple):
    """total: of outcomes; bad: those of them that went badly."""

    total: int = 0
    bad: int = 0

    @property
    def rate(self) -> float | None:
        """The share that went badly; None without outcomes."""
        return self.bad / self.total if self.total else None

    def plus(self, other: "Trials") -> "Trials":
        """Both together."""
        return Trials(self.total + other.total, self.bad + other.bad)


class Alternatives(NamedTuple):
    """Pairs of rates that bets are placed on: the stable version's and the candidate's, each float64 [pairs]."""

    stable: npt.NDArray[np.float64]
    candidate: npt.NDArray[np.float64]


def worse(bases: tuple[float, ...], excess: float) -> Alternatives:
    """Against the claim "by no more than `excess`": the candidate's rate is higher than that."""
    base, effect = (grid.ravel() for grid in np.meshgrid(bases, _EFFECTS))
    return Alternatives(base, np.minimum(base + excess + effect, 1 - _LEAST_RATE))


def better(bases: tuple[float, ...], excess: float) -> Alternatives:
    """Against the claim "by `excess` at least": the candidate's rate is lower than that."""
    base, fraction = (grid.ravel() for grid in np.meshgrid(bases, _FRACTIONS))
    return Alternatives(base, fraction * np.minimum(base + excess, 1.0))


def growth(stable: Trials, candidate: Trials, alternatives: Alternatives, excess: float) -> Wealth:
    """By what the logarithm of the wealth of each alternative grows with a block; 0 where one side has no outcome."""
    if not stable.total or not candidate.total:
        return np.zeros(len(alternatives.stable))
    ratio = candidate.total / stable.total
    weight = candidate.total / (candidate.total + stable.total)
    center = np.clip(
        (1 - weight) * alternatives.stable + weight * (alternatives.candidate - excess),
        max(0.0, -excess) + _LEAST_RATE,
        min(1.0, 1.0 - excess) - _LEAST_RATE,
    )
    edge = center + excess
    most = _LARGEST_STAKE * np.minimum(1 / edge, 1 / (ratio * (1 - center)))
    least = -_LARGEST_STAKE * np.minimum(1 / (1 - edge), 1 / (ratio * center))
    bet = np.clip((alternatives.candidate - edge) / (edge * (1 - edge)), least, most)
    # Never on the claim's own side, which rounding and clipping could lead to: that would be no evidence.
    against = alternatives.candidate - alternatives.stable > excess
    bet = np.where(against, np.maximum(bet, 0.0), np.minimum(bet, 0.0))
    return _won(candidate, edge, bet) + _won(stable, center, -ratio * bet)


def growth_alone(candidate: Trials, alternatives: Alternatives, ceiling: float) -> Wealth:
    """The same against the claim "the candidate's rate is at most `ceiling`", with no stable outcome beside it."""
    edge = min(max(ceiling, _LEAST_RATE), 1 - _LEAST_RATE)
    bet = np.clip((alternatives.candidate - edge) / (edge * (1 - edge)), 0.0, _LARGEST_STAKE / edge)
    return _won(candidate, np.full(len(bet), edge), bet)


def log_mean(wealth: Wealth) -> float:
    """The logarithm of the mean wealth: the evidence."""
    largest = float(wealth.max())
    return largest + math.log(float(np.exp(wealth - largest).mean()))


def upper_limit(trials: Trials, error: float) -> float:
    """What the rate is at most, at every moment at once but for a chance of `error`; 1 without outcomes.

    The mixture of H. Robbins, Statistical methods related to the law of the iterated logarithm (1970), for a rate: bets
    against every rate, spread by Jeffreys' prior.
    """
    from scipy.optimize import brentq
    from scipy.special import betaln, xlog1py, xlogy

    total, bad = trials
    if bad == total:
        return 1.0
    mixture = betaln(bad + 0.5, total - bad + 0.5) - betaln(0.5, 0.5)

    def beyond(rate: float) -> float:
        return float(mixture - xlogy(bad, rate) - xlog1py(total - bad, -rate) + math.log(error))

    return float(brentq(beyond, max(bad / total, 1e-12), 1 - 1e-12))


def _won(trials: Trials, center: npt.NDArray[np.float64], bet: npt.NDArray[np.float64]) -> Wealth:
    won = trials.bad * np.log1p(bet * (1 - center)) + (trials.total - trials.bad) * np.log1p(-bet * center)
    return np.asarray(won, np.float64)
