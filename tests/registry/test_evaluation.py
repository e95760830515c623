import dataclasses
import json

import numpy as np
import pytest

from registry.evaluation import artifact_folder, load_evaluation, save_evaluation
from slipway.errors import IntegrityError, NotFoundError
from tests.registry.conftest import make_evaluation


def _same(left, right):
    for field in dataclasses.fields(left):
        np.testing.assert_equal(getattr(left, field.name), getattr(right, field.name))


def test_a_saved_evaluation_is_loaded_with_the_same_numbers_and_predictions(world):
    evaluation = make_evaluation([0, 1, 1, 0], [0, 1, 0, 0], run_id=world.run())
    save_evaluation(world.registry, evaluation)
    loaded = load_evaluation(world.registry, evaluation.run_id)
    _same(loaded, evaluation)
    assert loaded.truth.dtype == np.int32


def test_an_undefined_number_stays_undefined(world):
    evaluation = make_evaluation([0, 0], [0, 0], run_id=world.run(), log_loss=float("nan"))
    save_evaluation(world.registry, evaluation)
    loaded = load_evaluation(world.registry, evaluation.run_id)
    assert np.isnan(loaded.log_loss)
    assert np.isnan(loaded.per_class["b"].recall)
    text = world.registry.read_artifact(evaluation.run_id, f"{artifact_folder('5' * 64)}/evaluation.json")
    assert json.loads(text)["log_loss"] is None


def test_a_run_keeps_an_evaluation_for_each_split_and_is_judged_by_its_own(world):
    run_id = world.run()
    own = make_evaluation([0, 1], [0, 1], run_id=run_id, split_digest="1" * 64)
    other = make_evaluation([0, 1, 1], [0, 1, 0], run_id=run_id, split_digest="2" * 64)
    save_evaluation(world.registry, own)
    save_evaluation(world.registry, other, own=False)
    _same(load_evaluation(world.registry, run_id), own)
    _same(load_evaluation(world.registry, run_id, "2" * 64), other)
    assert load_evaluation(world.registry, run_id, "3" * 64) is None


def test_a_run_without_an_evaluation_has_none(world):
    assert load_evaluation(world.registry, world.run()) is None


def test_an_evaluation_of_an_unknown_run_is_not_found(world):
    with pytest.raises(NotFoundError, match="nope"):
        load_evaluation(world.registry, "nope")


def test_changed_predictions_are_refused_by_name(world):
    evaluation = make_evaluation([0, 1], [0, 1], run_id=world.run())
    save_evaluation(world.registry, evaluation)
    world.registry.log_artifact_bytes(evaluation.run_id, f"{artifact_folder('5' * 64)}/predictions.npz", b"other")
    with pytest.raises(IntegrityError, match=r"predictions\.npz has another digest"):
        load_evaluation(world.registry, evaluation.run_id)


@pytest.mark.parametrize("text", [b"{", b"[]", b'{"format": "other/1"}', b'{"format": "slipway.evaluation/1"}'])
def test_a_malformed_evaluation_is_refused(world, text):
    evaluation = make_evaluation([0, 1], [0, 1], run_id=world.run())
    save_evaluation(world.registry, evaluation)
    world.registry.log_artifact_bytes(evaluation.run_id, f"{artifact_folder('5' * 64)}/evaluation.json", text)
    with pytest.raises(IntegrityError, match="Evaluate the run again"):
        load_evaluation(world.registry, evaluation.run_id)


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({"images": 3}, "truth is int32"),
        ({"labels": ("a", "c")}, "per_class and labels differ"),
        ({"truth": np.array([0, 7], np.int32)}, "indices outside"),
        ({"predicted": np.array([0, 1], np.int64)}, "int64"),
        ({"split_digest": "../../up"}, "split_digest"),
    ],
)
def test_fields_that_do_not_belong_together_are_refused(changes, problem):
    with pytest.raises(IntegrityError, match=problem):
        dataclasses.replace(make_evaluation([0, 1], [0, 1]), **changes)
