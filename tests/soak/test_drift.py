"""Drift checks, many of them: clean digits give few findings, and corrupted ones are found.

Both for checks as they are made by default, three of five windows, and for single windows, each judged alone. Run with
`-s` to see the table.
"""

from collections import Counter

import numpy as np
import pytest

from pipeline.drift.config import DriftConfig
from tests.pipeline.drift_digits import CORRUPTIONS, Digits, found_in

pytestmark = pytest.mark.soak

CLEAN, MOST_FOUND = 500, 10
CORRUPTED, LEAST_FOUND = 25, 95
SHARES = (0.5, 0.2, 0.1, 0.05)
RULES = {"3 of 5 windows": DriftConfig(), "1 window": DriftConfig(windows=1, found_windows=1)}


@pytest.fixture(scope="module", params=[11, 12])
def digits(request):
    """Networks of two seeds; the thresholds were chosen on another one, 0."""
    return Digits(request.param)


@pytest.mark.parametrize("rule", RULES)
def test_at_most_two_percent_of_the_checks_of_clean_images_find_drift(digits, rule):
    random = np.random.default_rng(21)
    found = Counter()
    for _ in range(CLEAN):
        measures = found_in(digits.check(digits.clean, RULES[rule], random, labelled=True))
        found.update(measures)
        found["any"] += bool(measures)
    print(f"\n{rule}, clean: {found['any']} of {CLEAN} found; {dict(found)}")  # noqa: T201
    assert found["any"] <= MOST_FOUND


@pytest.mark.parametrize("rule", RULES)
def test_at_least_95_of_100_corrupted_windows_are_found(digits, rule):
    random = np.random.default_rng(22)
    found = 0
    for name in CORRUPTIONS:
        seen, strength = digits.corrupted(name)
        checks = [found_in(digits.check(seen, RULES[rule], random)) for _ in range(CORRUPTED)]
        found += sum(map(bool, checks))
        by_measure = Counter(measure for measures in checks for measure in measures)
        print(f"\n{rule}, {name} {strength:.3f}: accuracy {digits.clean.accuracy:.3f} -> {seen.accuracy:.3f}, ", end="")  # noqa: T201
        print(f"{sum(map(bool, checks))} of {CORRUPTED} found; {dict(by_measure)}")  # noqa: T201
        for share in SHARES:
            part = [found_in(digits.check(digits.mixed(seen, share, random), RULES[rule], random)) for _ in range(10)]
            print(f"  {share:.0%} of the traffic: {sum(map(bool, part))} of 10 found")  # noqa: T201
    assert found >= LEAST_FOUND
