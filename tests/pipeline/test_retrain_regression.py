"""The rule about the regression set: no fall at all, and no missing number."""

import pytest

from pipeline.retrain.regression import rule
from tests.registry.conftest import make_evaluation

TRUTH = [0, 1, 2] * 10


def evaluation(right, of=TRUTH):
    predicted = [truth if place < right else (truth + 1) % 3 for place, truth in enumerate(of)]
    return make_evaluation(of, predicted, labels="abc", split_digest=f"{len(of):064}")


@pytest.mark.parametrize(("new", "old", "passes"), [(27, 27, True), (28, 27, True), (26, 27, False), (0, 1, False)])
def test_one_image_more_lost_than_won_refuses(new, old, passes):
    found = rule(evaluation(new), evaluation(old), has_champion=True)
    assert found.passed is passes
    assert (found.measured, found.relation, found.limit) == (new / 30, "at least", old / 30)


def test_other_images_right_and_as_many_passes():
    old = make_evaluation([0, 1, 2, 0], [0, 1, 2, 1], labels="abc")
    new = make_evaluation([0, 1, 2, 0], [1, 1, 2, 0], labels="abc")
    found = rule(new, old, has_champion=True)
    assert found.passed
    assert "1 lost, 1 won" in found.note


def test_a_number_that_is_missing_refuses():
    assert not rule(None, evaluation(27), has_champion=True).passed
    assert not rule(evaluation(27), None, has_champion=True).passed
    assert not rule(None, None, has_champion=False).passed


def test_without_a_champion_any_accuracy_passes():
    assert rule(evaluation(1), None, has_champion=False).passed


def test_other_images_cannot_be_compared():
    found = rule(evaluation(9, [0, 1, 2] * 3), evaluation(27), has_champion=True)
    assert not found.passed
    assert "cannot compare" in found.note
