"""How a retraining ended, in one line and as an exit code."""

import json

import pytest

from pipeline.retrain.outcome import Outcome
from registry.gate import GateReport, RuleResult


def report(*, passed):
    rules = (
        RuleResult("accuracy", 0.97, "at least", 0.8, passed=True),
        RuleResult("regression set", 0.9, "at least", 0.8 if passed else 0.95, passed, "60 images, 3 lost, 0 won"),
    )
    return GateReport("pets", 4, 3, rules)


@pytest.mark.parametrize(
    ("ending", "said"), [("promoted", "promoted version 4"), ("canary", "started version 4 as the canary")]
)
def test_what_went_on_says_the_numbers(ending, said):
    outcome = Outcome("pets", ending, "new data", "abc", 4, report(passed=True))
    assert outcome.line() == f"pets: {said} (new data); accuracy 0.9700, regression set 0.9000; run abc"
    assert outcome.exit_code == 0


def test_a_refusal_says_by_which_rule_and_leaves_with_3():
    outcome = Outcome("pets", "refused", "new data", "abc", 4, report(passed=False))
    assert outcome.exit_code == 3
    assert "refused by regression set (60 images, 3 lost, 0 won)" in outcome.line()
    assert outcome.text().startswith("pets version 4 is refused, against champion version 3:")


@pytest.mark.parametrize("ending", ["declined", "busy"])
def test_no_training_is_no_failure(ending):
    outcome = Outcome("pets", ending, "why")
    assert outcome.exit_code == 0
    assert outcome.line().startswith("pets: not retrained")
    assert "\n" not in outcome.line()


def test_the_document_can_be_written_as_json_and_has_the_exit_code():
    document = json.loads(json.dumps(Outcome("pets", "refused", "x", "abc", 4, report(passed=False)).as_dict()))
    assert (document["exit_code"], document["gate"]["passed"]) == (3, False)
