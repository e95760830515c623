"""Whether to train at all: by new images, drift, age and force, and not soon after a refusal."""

import pytest

from pipeline.retrain.config import RetrainConfig
from pipeline.retrain.decision import DAY_S, HOUR_S, Facts, decide
from slipway.errors import InputError

NOW = 1_800_000_000.0
OLD, NEW = "a" * 64, "b" * 64


def facts(**changes):
    known = {"now_s": NOW, "datasets": (OLD,), "champion": 3, "champion_dataset": OLD, "champion_since_s": NOW}
    return Facts(**{**known, **changes})


def test_the_same_images_without_drift_are_no_reason():
    decision = decide(facts(drift="none"), RetrainConfig())
    assert not decision.train
    assert "dataset aaaaaaaaaaaa is the one that champion version 3 was trained on; no drift" in decision.why


def test_without_a_champion_there_is_a_reason():
    assert decide(Facts(NOW, (OLD,)), RetrainConfig()).why == "there is no champion"


def test_new_images_are_a_reason():
    decision = decide(facts(datasets=(NEW,)), RetrainConfig())
    assert decision.train
    assert decision.why == "new data: dataset bbbbbbbbbbbb, the champion's is aaaaaaaaaaaa"


def test_images_that_differ_by_the_regression_set_alone_are_not_new():
    """The champion may have been trained before there was a regression set."""
    assert not decide(facts(datasets=(NEW, OLD)), RetrainConfig()).train


def test_images_whose_candidate_was_refused_are_not_new_after_the_cool_down_either():
    refused = facts(datasets=(NEW,), setback_s=NOW - 400 * DAY_S, tried={NEW: "was refused"})
    decision = decide(refused, RetrainConfig())
    assert not decision.train
    assert "is the one whose candidate was refused" in decision.why


@pytest.mark.parametrize(("drift", "trains"), [("found", True), ("none", False), ("unknown", False), ("", False)])
def test_drift_that_was_found_is_a_reason(drift, trains):
    assert decide(facts(drift=drift, drift_time="2027-01-15T08:00:00+00:00"), RetrainConfig()).train is trains


@pytest.mark.parametrize("reason", [{"drift": "found"}, {"champion_since_s": NOW - 40 * DAY_S}])
@pytest.mark.parametrize("learned", [{"champion_retrained": True}, {"datasets": (NEW,), "tried": {NEW: "was refused"}}])
def test_a_reason_that_lasts_is_none_for_images_that_a_retraining_has_learned(reason, learned):
    """Or each night another network of the same images might take the champion's place, a little worse each."""
    decision = decide(facts(**reason, **learned), RetrainConfig(max_age_days=30))
    assert not decision.train
    assert "a retraining has learned these images already: add others" in decision.why


def test_drift_and_new_images_after_a_retraining_are_reasons_again():
    why = decide(facts(datasets=(NEW,), drift="found", champion_retrained=True), RetrainConfig()).why
    assert why == "new data: dataset bbbbbbbbbbbb, the champion's is aaaaaaaaaaaa; drift was found"


@pytest.mark.parametrize(("days", "limit", "trains"), [(31, 30, True), (29, 30, False), (4000, 0, False)])
def test_a_champion_older_than_its_limit_is_a_reason(days, limit, trains):
    old = facts(champion_since_s=NOW - days * DAY_S)
    assert decide(old, RetrainConfig(max_age_days=limit)).train is trains


@pytest.mark.parametrize(("hours", "trains"), [(1, False), (47.9, False), (48.1, True)])
def test_a_refusal_is_waited_after(hours, trains):
    refused = facts(datasets=(NEW,), setback_s=NOW - hours * HOUR_S, tried={"c" * 64: "was refused"})
    decision = decide(refused, RetrainConfig())
    assert decision.train is trains
    assert trains or "new data" in decision.why


def test_force_passes_the_cool_down_and_needs_no_reason():
    refused = facts(setback_s=NOW, under_way="version 4 is the challenger")
    assert decide(refused, RetrainConfig(), force=True).why == "forced"


def test_every_reason_is_named():
    every = facts(datasets=(NEW,), drift="found", champion_since_s=NOW - 10 * DAY_S)
    why = decide(every, RetrainConfig(max_age_days=5)).why
    assert why.count(";") == 2
    for part in ("new data", "drift was found", "10.0 days old, more than 5"):
        assert part in why


@pytest.mark.parametrize(
    ("changes", "flag"),
    [
        ({"start": "imagenet"}, "--from"),
        ({"max_minutes": -1}, "--max-minutes"),
        ({"cool_down_hours": float("inf")}, "--cool-down-hours"),
    ],
)
def test_a_value_out_of_range_names_the_option(changes, flag):
    with pytest.raises(InputError, match=f"expected .* pass {flag}"):
        RetrainConfig(**changes)


def test_while_a_candidate_is_tried_no_other_is_made():
    decision = decide(facts(datasets=(NEW,), under_way="version 4 is the challenger"), RetrainConfig())
    assert not decision.train
    assert decision.why.startswith("version 4 is the challenger (--force passes it); there would be a reason: new data")
