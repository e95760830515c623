"""A rollout's policy: its plan, and what is refused."""

from pathlib import Path

import pytest

from pipeline.config import load_rollout_policy
from pipeline.rollout.policy import RolloutPolicy, Step
from slipway.errors import InputError


def test_the_default_goes_from_5_percent_to_all_without_copies():
    policy = RolloutPolicy()
    assert policy.plan == (Step(5), Step(25), Step(50), Step(100))
    assert (policy.aborting, policy.holding) == (("errors", "latency", "accuracy"), ("confidence",))


def test_copies_come_in_a_step_before_the_first():
    policy = RolloutPolicy(steps="10, 50", shadow=20, measures="errors,disagreement")
    assert [str(step) for step in policy.plan] == ["shadow 20 %", "10 %", "50 %"]


def test_the_more_traffic_is_at_stake_the_less_may_be_lost_on_each_request():
    policy = RolloutPolicy(steps="5,25,50", accuracy_tolerance=0.03)
    assert [policy.excess_allowed("accuracy", step) for step in range(3)] == pytest.approx([0.12, 0.06, 0.03])


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"steps": "50,5"}, "steps is '50,5'; expected rising percentages"),
        ({"steps": "5,200"}, "rising percentages"),
        ({"steps": ""}, "rising percentages"),
        ({"steps": "5,nan"}, "rising percentages"),
        ({"steps": "a"}, "rising percentages"),
        ({"least_requests": 0}, "least_requests is 0; expected a whole number from 1"),
        ({"least_requests": 2.5}, "least_requests is 2.5; expected a whole number"),
        ({"measures": "speed"}, "measures is 'speed'; expected some of errors, latency, accuracy"),
        ({"measures": "confidence"}, "one of errors, latency, accuracy at least"),
        ({"measures": "errors,disagreement"}, "shadow is 0; expected a share of copies"),
        ({"total_error": 0}, "total_error is 0; expected a number from 1e-06 to 0.2"),
        ({"accuracy_margin": 0.05}, "accuracy_margin is 0.05 and accuracy_tolerance 0.03; expected a margin below"),
        ({"undecided": "wait"}, "undecided is 'wait'; expected hold or abort"),
        ({"rest_servers": " , "}, "rest_servers is empty"),
        ({"shadow": 101.0}, "shadow is 101.0; expected a number from 0 to 100"),
        ({"longest_s": float("nan")}, "longest_s is nan"),
    ],
)
def test_a_wrong_policy_is_named_with_key_and_expectation(wrong, said):
    with pytest.raises(InputError, match=r"^rollout policy: .*Edit the policy\.$") as caught:
        RolloutPolicy(**wrong)
    assert said in str(caught.value)


def test_all_that_is_wrong_is_said_at_once():
    with pytest.raises(InputError) as caught:
        RolloutPolicy(steps="x", least_requests=-1, undecided="")
    assert all(name in str(caught.value) for name in ("steps", "least_requests", "undecided"))


def test_a_policy_file_has_the_section_s_keys_alone_and_options_stand_above_it(tmp_path):
    example = Path(__file__).parents[2] / "pipeline" / "conf" / "rollout.yaml"
    policy = load_rollout_policy(str(example), {"rollout.least_requests": 7})
    assert (policy.plan[0], policy.least_requests, policy.undecided) == (Step(0, 10), 7, "abort")
    (tmp_path / "wrong.yaml").write_text("step: '5'", encoding="utf-8")
    with pytest.raises(InputError, match=r"wrong\.yaml: unknown key 'step'; did you mean 'steps'"):
        load_rollout_policy(str(tmp_path / "wrong.yaml"))
