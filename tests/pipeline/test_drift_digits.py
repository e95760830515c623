"""Drift on real digits through a real small network: corruptions that cost 5 points of accuracy are found."""

import numpy as np
import pytest

from pipeline.drift.config import DriftConfig
from tests.pipeline.drift_digits import CORRUPTIONS, COST, Digits, found_in

pytestmark = pytest.mark.integration  # a network is trained, and images are corrupted until it errs enough


@pytest.fixture(scope="module")
def digits():
    return Digits(seed=1)


def test_clean_digits_are_no_drift(digits):
    random = np.random.default_rng(0)
    found = [found_in(digits.check(digits.clean, DriftConfig(), random, labelled=True)) for _ in range(8)]
    assert found == [[]] * 8


@pytest.mark.parametrize("name", CORRUPTIONS)
def test_a_corruption_that_costs_five_points_is_found_by_more_than_one_measure(digits, name):
    seen, _strength = digits.corrupted(name)
    assert seen.accuracy == pytest.approx(digits.clean.accuracy - COST, abs=0.005)
    found = found_in(digits.check(seen, DriftConfig(), np.random.default_rng(0)))
    assert {"confidence", "embedding"} <= set(found)
