"""What the measures find, and what they leave alone, on samples that are drawn at random."""

from dataclasses import replace
from datetime import UTC, datetime

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.drift.config import DriftConfig
from pipeline.drift.judging import judge, level
from pipeline.drift.measures import MEASURES
from pipeline.drift.report import DriftReport
from pipeline.drift.sample import Sample
from slipway.errors import InputError

CONFIG = DriftConfig()


def sample(count, random, classes=10, shares=None):
    return Sample(
        classes=classes,
        class_id=random.choice(classes, count, p=shares),
        confidence=random.beta(8, 1, count),
        embeddings=random.normal(size=(count, 16)).astype(np.float32),
        brightness=random.normal(120, 20, count),
        sharpness=random.gamma(3, 50, count),
        size=np.full(count, 6.0),
        right=random.random(count) < 0.95,
    )


def windows(random, count=CONFIG.window, **changes):
    return [replace(sample(count, random), **{k: make(count) for k, make in changes.items()}) for _ in range(5)]


def found_in(findings):
    return {each.measure for each in findings if each.found}


@pytest.mark.parametrize(
    ("measure", "changes"),
    [
        ("class_mix", {"class_id": lambda r, n: r.choice(10, n, p=[0.28] + [0.08] * 9)}),
        ("confidence", {"confidence": lambda r, n: r.beta(4, 1, n)}),
        ("embedding", {"embeddings": lambda r, n: (r.normal(size=(n, 16)) + 0.25).astype(np.float32)}),
        ("brightness", {"brightness": lambda r, n: r.normal(105, 20, n)}),
        ("sharpness", {"sharpness": lambda r, n: r.gamma(3, 35, n)}),
        ("size", {"size": lambda r, n: r.choice([6.0, 7.0], n)}),
        ("accuracy", {"right": lambda r, n: r.random(n) < 0.85}),
    ],
)
def test_a_change_is_found_by_its_own_measure_alone(measure, changes):
    random = np.random.default_rng(1)
    reference = sample(1000, random)
    seen = windows(random, **{name: lambda n, make=make: make(random, n) for name, make in changes.items()})
    assert found_in(judge(reference, seen, CONFIG)) == {measure}


def test_large_windows_do_not_find_trifles():
    random = np.random.default_rng(2)
    reference = sample(20_000, random)
    seen = windows(
        random,
        20_000,
        confidence=lambda n: random.beta(7.5, 1, n),
        brightness=lambda n: random.normal(122, 20, n),
        right=lambda n: random.random(n) < 0.935,
    )
    findings = {each.measure: each for each in judge(reference, seen, CONFIG)}
    for measure in ("confidence", "brightness", "accuracy"):
        assert findings[measure].p < level(CONFIG)
        assert (findings[measure].found_in, findings[measure].found) == (0, False)


def test_an_accuracy_that_rises_is_no_finding():
    random = np.random.default_rng(3)
    seen = windows(random, right=lambda n: np.ones(n, bool))
    assert not found_in(judge(sample(1000, random), seen, CONFIG))


def test_rare_classes_are_taken_together_and_one_class_alone_is_not_measured():
    random = np.random.default_rng(4)
    shares = np.full(1000, 1 / 1000)
    reference, seen = (sample(count, random, 1000, shares) for count in (1000, 500))
    assert judge(reference, [seen] * 3, CONFIG)[0].of == 3
    alone = replace(seen, class_id=np.zeros(500, int))
    mix = judge(replace(reference, class_id=np.zeros(1000, int)), [alone] * 3, CONFIG)[0]
    assert (mix.of, mix.found, mix.note) == (0, False, "not measured: nearly all predictions are of one class")


def test_embeddings_of_another_network_are_not_measured():
    random = np.random.default_rng(5)
    seen = replace(sample(500, random), embeddings=np.zeros((500, 8), np.float32))
    findings = {each.measure: each for each in judge(sample(1000, random), [seen] * 5, CONFIG)}
    assert findings["embedding"].note == "not measured: embeddings of 8 numbers; the reference's have 16"


def test_the_level_of_a_test_keeps_the_chance_of_all_within_alpha_however_they_depend_on_each_other():
    expected_windows = CONFIG.windows * level(CONFIG)
    assert expected_windows / CONFIG.found_windows * len(MEASURES) == pytest.approx(CONFIG.alpha)


def test_without_a_change_p_is_as_uniform_as_it_has_to_be():
    random = np.random.default_rng(6)
    config = DriftConfig(windows=1, found_windows=1)
    values = {measure: [] for measure in MEASURES}
    for _ in range(100):
        for each in judge(sample(600, random), [sample(500, random)], config):
            values[each.measure].append(each.p)
    shares = {measure: float(np.mean(np.array(p) < 0.05)) for measure, p in values.items()}
    assert max(shares.values()) < 0.05 + 3 * np.sqrt(0.05 * 0.95 / 100), shares


def test_no_finding_in_twenty_checks_without_a_change():
    random = np.random.default_rng(7)
    reference = sample(600, random)  # one for all: its own chance is in every check
    found = [measure for _ in range(20) for measure in found_in(judge(reference, windows(random), CONFIG))]
    assert found == []


@given(st.lists(st.booleans(), min_size=3, max_size=5))
@settings(max_examples=20, deadline=None)
def test_a_finding_needs_k_windows_wherever_they_are(changed):
    random = np.random.default_rng(8)
    none = np.zeros((0, 0), np.float32)
    reference = replace(sample(600, random), embeddings=none)
    seen = [
        replace(sample(500, random), embeddings=none, brightness=random.normal(120 - 60 * each, 20, 500))
        for each in changed
    ]
    brightness = judge(reference, seen, CONFIG)[3]
    assert brightness.found_in == sum(changed)
    assert brightness.found == (sum(changed) >= CONFIG.found_windows)


@pytest.mark.parametrize(
    ("changes", "flag"),
    [
        ({"window": 5}, "--window"),
        ({"found_windows": 6}, "--found-windows"),
        ({"alpha": 0.0}, "--alpha"),
        ({"least_samples": 501}, "--least-samples"),
        ({"embedding_effect": -0.1}, "--embedding-effect"),
        ({"max_age_s": 0.0}, "--max-age-s"),
    ],
)
def test_a_value_that_makes_no_sense_is_refused_with_its_flag(changes, flag):
    with pytest.raises(InputError, match=rf"pass {flag}\."):
        DriftConfig(**changes)


def test_the_summary_names_what_was_measured_in_no_window():
    random = np.random.default_rng(0)
    bare = windows(random, embeddings=lambda _: np.zeros((0, 0), np.float32), right=lambda _: np.zeros(0, bool))
    report = DriftReport(
        model="m",
        version=1,
        time=datetime.now(UTC),
        records=len(bare) * CONFIG.window,
        needed=CONFIG.window,
        window=CONFIG.window,
        windows=len(bare),
        found_windows=CONFIG.found_windows,
        level=level(CONFIG),
        findings=judge(sample(1000, random), bare, CONFIG),
    )
    assert report.summary().endswith("; not measured: embedding, accuracy")
