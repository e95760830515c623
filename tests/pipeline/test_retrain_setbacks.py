"""What a retraining takes from rollbacks, aborts and challengers: which images were tried, and since when it waits."""

from types import SimpleNamespace

import pytest

from pipeline.retrain.outcome import Outcome
from pipeline.retrain.records import facts, record
from pipeline.retrain.retraining import failures_recorded
from registry.deployment import note
from registry.gate import GateReport, RuleResult
from registry.ledger import Ledger
from registry.promote import Change, move_challenger, move_champion
from registry.register import DATASET_DIGEST
from tests.registry.conftest import template_store, world  # noqa: F401 - fixtures

FIRST, SECOND, THIRD = "1" * 64, "2" * 64, "3" * 64
T0 = 1_800_000_000.0


class Story:
    """A model whose champion was trained on the first images; the clock is told the time."""

    def __init__(self, world):  # noqa: F811
        self.registry, self.world, self.now = world.registry, world, T0
        self.ledger = Ledger(f"sqlite:///{world.folder}/ledger.db", lambda: self.now)
        self.trained(FIRST)
        self.promoted(1)

    def trained(self, dataset):
        return self.world.version(tags={DATASET_DIGEST: dataset}).version

    def promoted(self, version, action="promote"):
        self.now += 10
        current = self.registry.aliases("digits").get("champion")
        change = Change("digits", version, action, current, "ada", reason="told so", forced=action == "promote")
        move_champion(self.registry, self.ledger, change)

    def challenged(self, version):
        self.now += 10
        change = Change("digits", version, "promote", 1, "ada", reason="told so")
        move_challenger(self.registry, self.ledger, change)

    def ended(self, ending, version, gate=None):
        self.now += 10
        outcome = Outcome("digits", ending, "new data", "abc", version, gate)
        record(self.registry, outcome, lambda: self.now)

    def facts(self, dataset=SECOND):
        images = SimpleNamespace(digest=dataset, configured_digest=dataset, source_digest=dataset)
        return facts(self.registry, self.ledger, "digits", images, lambda: self.now)


@pytest.fixture
def story(world):  # noqa: F811
    return Story(world)


def report(measured):
    return GateReport("digits", 2, 1, (RuleResult("accuracy", measured, "at least", 0.8, passed=False),))


def test_what_was_rolled_back_from_is_not_learned_again_and_the_cool_down_begins(story):
    story.promoted(story.trained(SECOND))
    story.promoted(1, "rollback")
    found = story.facts()
    assert found.tried[SECOND] == "version 2 was rolled back from"
    assert (found.setback_s, found.setback) == (story.now, "version 2 was rolled back from")
    story.promoted(story.trained(THIRD))
    assert story.facts().setback_s is None
    assert SECOND in story.facts().tried


def test_a_challenger_by_retrain_is_waited_for_and_its_images_are_not_new(story):
    story.challenged(story.trained(SECOND))
    assert not story.facts().under_way  # a person's, that no rollout tries
    story.ended("canary", 2)
    assert story.facts().under_way == "version 2 is the challenger: promote it, or withdraw it"
    assert SECOND in story.facts().tried


def test_an_aborted_canary_is_a_setback_and_one_that_became_champion_is_none(story):
    story.challenged(story.trained(SECOND))
    story.ended("canary", 2)
    note(story.registry, "digits", 2, "refused", "too many errors", story.now)
    story.registry.delete_alias("digits", "challenger")
    found = story.facts()
    assert (found.tried[SECOND], found.setback_s, found.under_way) == ("version 2 was withdrawn", story.now, "")
    story.promoted(2)
    assert not story.facts().setback_s
    assert SECOND not in story.facts().tried


def test_a_champion_that_is_promoted_since_ends_the_cool_down_after_a_refusal_whoever_promoted_it(story):
    story.ended("refused", story.trained(SECOND), report(0.5))
    found = story.facts()
    assert (found.tried[SECOND], found.setback_s, found.setback) == (
        "version 2 was refused",
        story.now,
        "version 2 was refused",
    )
    story.promoted(story.trained(THIRD))
    assert story.facts().setback_s is None
    assert SECOND in story.facts().tried


def test_all_images_that_numbers_refused_are_tried_not_the_last_ones_alone(story):
    story.ended("refused", story.trained(SECOND), report(0.5))
    story.ended("refused", story.trained(THIRD), report(0.4))
    assert {SECOND, THIRD} <= story.facts().tried.keys()


def test_a_refused_version_that_somebody_made_champion_all_the_same_is_no_setback(story):
    story.ended("refused", story.trained(SECOND), report(0.5))
    story.promoted(2)
    assert SECOND not in story.facts().tried
    assert story.facts().champion_retrained


def test_a_refusal_without_a_number_mutes_nothing(story):
    story.ended("refused", story.trained(SECOND), report(None))
    story.ended("refused", 2, GateReport("digits", 2, 1, ()))  # passed, and a server did not load it
    assert story.facts().setback_s is None
    assert SECOND not in story.facts().tried
    assert story.registry.model("digits").tags["slipway.retrain"] == "refused"


def test_a_failure_that_nobody_foresaw_is_on_the_model_too(story):
    with pytest.raises(MemoryError), failures_recorded(story.registry, "digits", lambda: story.now):
        raise MemoryError("31 GB")
    tags = story.registry.model("digits").tags
    assert (tags["slipway.retrain"], tags["slipway.retrain_reason"]) == ("failed", "MemoryError: 31 GB")
