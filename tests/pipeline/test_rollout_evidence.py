"""The bets: their wealth grows only against what is not true, however one looks."""

import itertools
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.rollout.evidence import Trials, better, growth, growth_alone, log_mean, upper_limit, worse

BASES = (0.0, 0.002, 0.01, 0.05, 0.25, 0.5)
RATES = st.floats(0, 1)
SIZES = st.integers(1, 12)


def binomial(count, rate):
    return [math.comb(count, bad) * rate**bad * (1 - rate) ** (count - bad) for bad in range(count + 1)]


def expected_wealth(wealth_of, stable, canary):
    """The exact mean over every outcome of a block, of sizes and rates (count, rate)."""
    total = 0.0
    for (bad_s, p_s), (bad_c, p_c) in itertools.product(enumerate(binomial(*stable)), enumerate(binomial(*canary))):
        total += p_s * p_c * np.exp(wealth_of(Trials(stable[0], bad_s), Trials(canary[0], bad_c)))
    return total


@settings(deadline=None)
@given(SIZES, SIZES, RATES, RATES, st.sampled_from([0.0, 0.01, 0.12, 0.4, 0.9]))
def test_no_bet_gains_on_average_against_a_candidate_within_the_margin(stable, canary, rate, other, excess):
    canary_rate = min(other, rate + excess, 1.0)
    bets = worse(BASES, excess)
    mean = expected_wealth(lambda s, c: growth(s, c, bets, excess), (stable, rate), (canary, canary_rate))
    assert np.all(mean <= 1 + 1e-9)


@settings(deadline=None)
@given(SIZES, SIZES, RATES, RATES, st.sampled_from([0.0, 0.01, 0.12, 0.4, 0.9]))
def test_no_bet_gains_on_average_against_a_candidate_beyond_the_tolerance(stable, canary, rate, other, excess):
    stable_rate = rate * (1 - excess)
    canary_rate = min(max(other, stable_rate + excess), 1.0)
    bets = better(BASES, excess)
    mean = expected_wealth(lambda s, c: growth(s, c, bets, excess), (stable, stable_rate), (canary, canary_rate))
    assert np.all(mean <= 1 + 1e-9)


@settings(deadline=None)
@given(SIZES, RATES, RATES)
def test_no_bet_gains_on_average_against_a_candidate_below_the_ceiling(count, ceiling, part):
    bets = worse(BASES, 0.0)
    chances = binomial(count, ceiling * part)
    edge = min(max(ceiling, 1e-4), 1 - 1e-4)
    mean = sum(p * np.exp(growth_alone(Trials(count, bad), bets, edge)) for bad, p in enumerate(chances))
    assert np.all(mean <= 1 + 1e-9)


@settings(deadline=None)
@given(st.integers(0, 400), st.integers(0, 40), st.integers(0, 400), st.integers(0, 40), st.sampled_from([0.0, 0.2]))
def test_wealth_is_a_finite_number_whatever_happened(good_s, bad_s, good_c, bad_c, excess):
    stable, canary = Trials(good_s + bad_s, bad_s), Trials(good_c + bad_c, bad_c)
    for bets in (worse(BASES, excess), better(BASES, excess)):
        assert np.all(np.isfinite(growth(stable, canary, bets, excess)))


def test_one_side_alone_is_no_evidence():
    for stable, canary in ((Trials(100, 0), Trials()), (Trials(), Trials(100, 100))):
        assert not growth(stable, canary, worse(BASES, 0.0), 0.0).any()


def test_a_bad_candidate_is_found_by_either_looking_once_or_often():
    bets = worse(BASES, 0.0)
    once = log_mean(growth(Trials(2000, 0), Trials(100, 4), bets, 0.0))
    often = log_mean(sum(growth(Trials(500, 0), Trials(25, 1), bets, 0.0) for _ in range(4)))
    assert min(once, often) > math.log(300)
    assert once == pytest.approx(often)


@pytest.mark.parametrize(("count", "bad"), [(100, 0), (100, 5), (10_000, 500)])
def test_the_upper_limit_lies_above_the_rate_and_comes_closer_with_more_trials(count, bad):
    limit = upper_limit(Trials(count, bad), 0.01)
    assert bad / count < limit < bad / count + 3.5 / math.sqrt(count)
    assert upper_limit(Trials(10 * count, 10 * bad), 0.01) < limit


def test_nothing_seen_limits_nothing():
    assert upper_limit(Trials(), 0.01) == 1.0
    assert upper_limit(Trials(7, 7), 0.01) == 1.0


def test_the_upper_limit_holds_at_every_moment_at_once():
    draw = np.random.default_rng(3)
    missed = 0
    for _ in range(300):
        bad = np.cumsum(draw.random(1500) < 0.05)
        missed += any(upper_limit(Trials(n, int(bad[n - 1])), 0.05) < 0.05 for n in range(50, 1500, 50))
    assert missed <= 300 * 0.05
