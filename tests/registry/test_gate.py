import dataclasses
import json
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from registry.evaluation import ClassResult
from registry.gate import Candidate, SignatureCheck, gate, report_from_dict
from registry.policy import Policy
from slipway.errors import InputError
from tests.registry.conftest import make_evaluation

LABELS = ("a", "b", "c")
NUMBERS = ("accuracy", "top3_accuracy", "macro_f1", "log_loss", "calibration_error")


def candidate(truth, predicted, *, version=2, parity=1e-6, size_bytes=100_000_000, **overrides):
    evaluation = make_evaluation(truth, predicted, labels=LABELS, **overrides)
    return Candidate("digits", version, evaluation, parity, size_bytes)


def with_evaluation(of, **changes):
    return dataclasses.replace(of, evaluation=dataclasses.replace(of.evaluation, **changes))


def rule(report, name):
    return next(each for each in report.rules if each.rule == name)


def predictions(truth, wrong):
    """`truth` with the images at the positions `wrong` given another class."""
    predicted = np.array(truth, np.int32)
    predicted[list(wrong)] = (predicted[list(wrong)] + 1) % len(LABELS)
    return predicted


TRUTH = np.repeat(np.arange(3, dtype=np.int32), 40)
GOOD = candidate(TRUTH, predictions(TRUTH, [0, 40, 80]))
CHAMPION = dataclasses.replace(GOOD, version=1)

ANSWERS = st.lists(
    st.tuples(st.integers(0, 2), st.booleans(), st.booleans()), min_size=1, max_size=60
)  # (true class, candidate right, champion right)


def both(answers):
    truth = np.array([of for of, _, _ in answers], np.int32)
    wrong = [i for i, (_, right, _) in enumerate(answers) if not right]
    champion_wrong = [i for i, (_, _, right) in enumerate(answers) if not right]
    return candidate(truth, predictions(truth, wrong)), candidate(truth, predictions(truth, champion_wrong), version=1)


def test_gate_passes_a_good_candidate_when_there_is_no_champion_and_says_so():
    report = gate(GOOD, None, Policy())
    assert report.passed
    assert report.against is None
    assert rule(report, "paired test, p").note == "no champion yet: passes"


def test_gate_passes_a_candidate_that_equals_the_champion():
    report = gate(GOOD, CHAMPION, Policy())
    assert report.passed, report.table()
    assert report.against == 1
    assert rule(report, "paired test, p").measured == 1.0


def test_gate_refuses_a_candidate_below_the_minimum_accuracy():
    weak = candidate(TRUTH, predictions(TRUTH, range(30)))
    report = gate(weak, None, Policy(minimum_accuracy=0.8))
    assert not report.passed
    assert [each.rule for each in report.rules if not each.passed] == ["accuracy"]


def test_gate_refuses_a_candidate_below_the_champion_by_more_than_the_margin():
    report = gate(candidate(TRUTH, predictions(TRUTH, [0, 1, 40, 41, 80])), CHAMPION, Policy(champion_margin=0.01))
    assert not rule(report, "accuracy change").passed
    assert rule(report, "accuracy change").measured == pytest.approx(-2 / 120)


def test_gate_lets_a_candidate_fall_by_exactly_the_margin():
    truth = np.repeat(np.arange(3, dtype=np.int32), 100)[:200]
    labels = candidate(np.r_[truth, [2]], predictions(np.r_[truth, [2]], []), version=1)
    worse = candidate(np.r_[truth, [2]], predictions(np.r_[truth, [2]], [0, 1]))
    assert rule(gate(worse, labels, Policy(champion_margin=2 / 201)), "accuracy change").passed


def test_gate_refuses_what_is_worse_by_more_than_chance_though_within_the_margin():
    truth = np.repeat(np.arange(3, dtype=np.int32), 1000)
    champion = candidate(truth, predictions(truth, []), version=1)
    report = gate(candidate(truth, predictions(truth, range(0, 3000, 300))), champion, Policy(champion_margin=0.01))
    assert rule(report, "accuracy change").passed
    assert rule(report, "paired test, p").measured == pytest.approx(0.5**10)
    assert not rule(report, "paired test, p").passed


@pytest.mark.parametrize(("lost", "won", "p"), [(5, 0, 1 / 32), (4, 0, 1 / 16), (1, 5, 63 / 64), (3, 1, 5 / 16)])
def test_the_paired_test_gives_the_binomial_tail_of_the_discordant_images(lost, won, p):
    champion = candidate(TRUTH, predictions(TRUTH, range(50, 50 + won)), version=1)
    report = gate(candidate(TRUTH, predictions(TRUTH, range(lost))), champion, Policy())
    assert rule(report, "paired test, p").measured == pytest.approx(p)
    assert rule(report, "paired test, p").passed == (p >= 0.05)


def test_gate_refuses_a_fall_of_one_class_that_the_accuracy_hides_and_names_the_class():
    champion = candidate(TRUTH, predictions(TRUTH, range(9)), version=1)
    report = gate(candidate(TRUTH, predictions(TRUTH, range(80, 88))), champion, Policy(recall_drop=0.15))
    assert rule(report, "accuracy change").passed
    fall = rule(report, "class recall fall")
    assert not fall.passed
    assert fall.measured == pytest.approx(0.2)
    assert "'c'" in fall.note


SMALL = np.array([0] * 60 + [1] * 4 + [2] * 4, np.int32)


@pytest.mark.parametrize(("lost", "passes"), [([60], True), ([60, 64], False), ([60, 61, 62, 63], False)])
def test_small_classes_are_judged_together_and_one_image_never_decides(lost, passes):
    champion = candidate(SMALL, predictions(SMALL, [0, 1, 2, 3]), version=1)
    policy = Policy(recall_drop=0.1, recall_minimum_support=10)
    small = rule(gate(candidate(SMALL, predictions(SMALL, lost)), champion, policy), "small classes' recall fall")
    assert small.passed == passes
    assert small.measured == pytest.approx(len(lost) / 8)
    assert "2 classes under 10 images, judged together on 8" in small.note


def test_gate_refuses_other_evaluation_data_and_names_both_splits():
    other = with_evaluation(CHAMPION, split_digest="6" * 64)
    report = gate(GOOD, other, Policy())
    assert not report.passed
    assert "cannot compare: the champion was evaluated on split 666666666666" in rule(report, "accuracy change").note


def test_gate_refuses_other_labels_and_names_them():
    relabelled = make_evaluation(TRUTH, TRUTH, labels=("a", "b", "d"))
    report = gate(GOOD, dataclasses.replace(CHAMPION, evaluation=relabelled), Policy())
    assert not report.passed
    assert "added ['c'], gone ['d']" in rule(report, "class recall fall").note


def test_gate_refuses_labels_in_another_order():
    relabelled = make_evaluation(TRUTH, TRUTH, labels=("b", "a", "c"))
    report = gate(GOOD, dataclasses.replace(CHAMPION, evaluation=relabelled), Policy())
    assert "another order" in rule(report, "accuracy change").note
    assert not report.passed


def test_gate_refuses_the_same_split_with_other_true_labels():
    moved = candidate(np.roll(TRUTH, 1), np.roll(TRUTH, 1), version=1)
    assert "true labels differ" in rule(gate(GOOD, moved, Policy()), "accuracy change").note


@pytest.mark.parametrize(("changes", "broken"), [({"parity": 2e-5}, "parity"), ({"size_bytes": 3 * 10**9}, "size, MB")])
def test_gate_refuses_a_servable_that_is_not_the_network_or_is_too_large(changes, broken):
    report = gate(dataclasses.replace(GOOD, **changes), CHAMPION, Policy())
    assert [each.rule for each in report.rules if not each.passed] == [broken]


@pytest.mark.parametrize("champion", [None, CHAMPION])
@pytest.mark.parametrize("name", NUMBERS)
@pytest.mark.parametrize("number", [math.nan, math.inf])
def test_gate_refuses_when_any_number_of_the_evaluation_is_undefined(champion, name, number):
    report = gate(with_evaluation(GOOD, **{name: number}), champion, Policy())
    assert not report.passed
    json.dumps(report.as_dict(), allow_nan=False)


@pytest.mark.parametrize("champion", [None, CHAMPION])
@pytest.mark.parametrize(
    "changes",
    [{"evaluation": None}, {"parity": None}, {"parity": math.nan}, {"parity": -1.0}, {"size_bytes": None}],
)
def test_gate_refuses_when_a_measurement_is_missing(champion, changes):
    assert not gate(dataclasses.replace(GOOD, **changes), champion, Policy()).passed


def test_gate_refuses_when_the_champions_numbers_are_missing():
    assert not gate(GOOD, dataclasses.replace(CHAMPION, evaluation=None), Policy()).passed
    assert not gate(GOOD, with_evaluation(CHAMPION, accuracy=math.nan), Policy()).passed


@pytest.mark.parametrize("label", LABELS)
def test_gate_refuses_when_the_recall_of_a_class_is_missing(label):
    per_class = dict(GOOD.evaluation.per_class)
    per_class[label] = ClassResult(0.9, math.nan, 40)
    report = gate(with_evaluation(GOOD, per_class=per_class), None, Policy())
    assert not report.passed
    assert repr(label) in rule(report, "missing numbers").note


def test_gate_refuses_a_class_that_no_image_has_tested():
    truth = np.repeat(np.arange(2, dtype=np.int32), 40)
    report = gate(candidate(truth, truth), None, Policy())
    assert "class 'c' has no image in the split" in rule(report, "missing numbers").note
    assert not report.passed


def test_gate_refuses_an_accuracy_that_the_predictions_do_not_give():
    report = gate(with_evaluation(GOOD, accuracy=1.0), CHAMPION, Policy())
    assert "accuracy is recorded as 1, its predictions give 0.975" in rule(report, "missing numbers").note
    assert not report.passed


def test_gate_refuses_an_evaluation_without_images():
    empty = candidate(np.array([], np.int32), np.array([], np.int32))
    assert not gate(empty, dataclasses.replace(empty, version=1), Policy(minimum_accuracy=0)).passed


LENIENT = Policy(minimum_accuracy=0.5)


@given(ANSWERS)
def test_a_candidate_is_never_worse_than_itself(answers):
    new, _ = both(answers)
    report = gate(new, dataclasses.replace(new, version=1), Policy(minimum_accuracy=0))
    assert all(each.passed for each in report.rules if each.rule != "missing numbers"), report.table()


@given(ANSWERS, st.data())
def test_one_more_right_answer_never_turns_a_pass_into_a_refusal(answers, data):
    new, champion = both(answers)
    wrong = np.flatnonzero(new.evaluation.predicted != new.evaluation.truth)
    if not wrong.size:
        return
    mended = new.evaluation.predicted.copy()
    index = data.draw(st.sampled_from(wrong.tolist()))
    mended[index] = new.evaluation.truth[index]
    better = candidate(new.evaluation.truth, mended)
    for before, after in zip(gate(new, champion, LENIENT).rules, gate(better, champion, LENIENT).rules, strict=True):
        assert after.passed or not before.passed, (before, after)


@given(ANSWERS)
def test_a_report_passes_only_if_every_rule_does_and_its_table_shows_each(answers):
    report = gate(*both(answers), LENIENT)
    assert report.passed == all(each.passed for each in report.rules)
    lines = report.table().splitlines()
    assert len(lines) == len(report.rules) + 2
    assert all(line.startswith(each.rule) for line, each in zip(lines[2:], report.rules, strict=True))


def test_the_table_shows_measured_wanted_and_verdict():
    table = gate(dataclasses.replace(GOOD, parity=0.5), CHAMPION, Policy()).table()
    assert "digits version 2 is refused, against champion version 1:" in table
    line = next(line for line in table.splitlines() if line.startswith("parity"))
    assert line.split()[:5] == ["parity", "0.5", "at", "most", "1e-05"]
    assert "REFUSE" in line


def test_the_next_command_after_a_pass_is_the_promotion_and_after_a_refusal_its_override():
    promote = "python -m pipeline promote --name digits --version 2 --to champion"
    assert gate(GOOD, CHAMPION, Policy()).next_command == promote
    refused = gate(dataclasses.replace(GOOD, parity=None), CHAMPION, Policy())
    assert refused.next_command == f"{promote} --force --reason TEXT"


@pytest.mark.parametrize(
    ("values", "problem"),
    [
        ({"minimum_accuracy": 1.5}, "minimum_accuracy is 1.5; expected a number from 0 to 1"),
        ({"minimum_accuracy": math.nan}, "minimum_accuracy is nan"),
        ({"significance": "5 %"}, "significance is '5 %'"),
        ({"recall_minimum_support": 2.5}, "expected a whole number from 1"),
        ({"champion_margin": True}, "champion_margin is True"),
        ({"maximum_size_mb": -1, "recall_drop": 2}, "recall_drop is 2; .*maximum_size_mb is -1"),
    ],
)
def test_a_policy_outside_its_ranges_is_refused_with_what_was_expected(values, problem):
    with pytest.raises(InputError, match=problem):
        Policy(**values)


SIGNED = Policy(require_signature=True)


@pytest.mark.parametrize(
    ("signature", "passes", "note"),
    [
        (SignatureCheck(key_id="a" * 32), True, f"by key {'a' * 32}"),
        (SignatureCheck(problem="digits version 2: key k is revoked."), False, "key k is revoked"),
        (None, False, "nobody has verified it"),
    ],
)
def test_where_a_signature_is_required_a_version_without_a_good_one_is_refused(signature, passes, note):
    report = gate(dataclasses.replace(GOOD, signature=signature), CHAMPION, SIGNED)
    assert report.passed == passes
    assert rule(report, "signature").passed == passes
    assert note in rule(report, "signature").note
    assert report_from_dict(json.loads(json.dumps(report.as_dict()))).passed == passes


def test_where_none_is_required_nothing_is_said_of_signatures():
    assert all(each.rule != "signature" for each in gate(GOOD, CHAMPION, Policy()).rules)


@pytest.mark.parametrize("value", [1, "yes", None])
def test_a_policy_that_does_not_say_whether_a_signature_is_required_is_refused(value):
    with pytest.raises(InputError, match=r"require_signature is .*; expected true or false"):
        Policy(require_signature=value)
