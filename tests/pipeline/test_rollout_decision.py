"""One look's verdict: what aborts, what holds, what lets a candidate go on."""

import dataclasses
import json

import numpy as np
import pytest

from pipeline.rollout.arms import Arm, Look
from pipeline.rollout.decision import judge
from pipeline.rollout.policy import RolloutPolicy
from pipeline.rollout.progress import Progress, progress_from
from pipeline.rollout.report import RolloutReport
from serving.observations import LATENCY_BOUNDS_MS, Moments
from tests.pipeline.rollout_simulation import EQUAL, KINDS, Behaviour, arm

ERRORS_ALONE = RolloutPolicy(steps="50", measures="errors")


def drawn(behaviour, requests, seed=0):
    return arm(behaviour, requests, np.random.default_rng(seed))


def judged(policy, *looks, progress=None, elapsed_s=0.0):
    """The verdict after the last of `looks`; each is (stable, canary)."""
    progress = progress or Progress()
    for stable, canary in looks:
        judgement = judge(policy, progress, Look(stable, canary), elapsed_s)
        progress = judgement.progress
    return judgement


def line(judgement, measure):
    return next(line for line in judgement.lines if line.measure == measure)


def looks(behaviour, count, stable=500, canary=500):
    return [(drawn(EQUAL, stable, seed), drawn(behaviour, canary, seed + 1000)) for seed in range(count)]


def without(arm_, **fields):
    return dataclasses.replace(arm_, **fields)


def test_nothing_seen_holds():
    judgement = judged(RolloutPolicy(), (Arm(), Arm()))
    assert judgement.verdict == "hold"
    assert "0 of 500 requests in this step" in judgement.reason


def test_an_equal_candidate_goes_through_every_step_and_is_promoted():
    verdicts, progress = [], Progress()
    for look in looks(EQUAL, 40):
        judgement = judged(RolloutPolicy(), look, progress=progress)
        progress = judgement.progress
        if judgement.verdict != "hold":
            verdicts.append((judgement.verdict, progress.step))
        if judgement.verdict == "promote":
            break
    assert verdicts == [("advance", 1), ("advance", 2), ("advance", 3), ("promote", 3)]


@pytest.mark.parametrize(
    ("kind", "measure"),
    [("3 points less accurate", "accuracy"), ("50 % slower", "latency"), ("errors on 2 %", "errors")],
)
def test_a_bad_candidate_is_aborted_for_what_is_bad_about_it(kind, measure):
    policy = RolloutPolicy(steps="50", least_requests=100_000)
    judgement = judged(policy, *looks(KINDS[kind], 40))
    assert judgement.verdict == "abort"
    assert judgement.reason.startswith(f"{measure}: worse by more than")
    found = line(judgement, measure)
    assert found.worse >= found.abort_at
    assert found.canary != found.stable


def test_a_step_begins_with_nothing_answered_in_it():
    judgement = judged(RolloutPolicy(), *looks(EQUAL, 3))
    assert judgement.progress.step > 0
    assert judgement.progress.answered < 1500


def test_no_step_is_taken_while_there_is_considerable_evidence_for_an_abort():
    """40 % slower is between margin and tolerance: evidence for going on comes too, in some rollouts first."""
    policy, waited, draw = RolloutPolicy(), 0, np.random.default_rng(0)
    for _ in range(20):
        progress, judgement = Progress(), None
        while judgement is None or judgement.verdict in {"hold", "advance"}:
            share = policy.plan[progress.step].share / 100
            canary = int(draw.binomial(1000, share))
            look = arm(EQUAL, 1000 - canary, draw), arm(Behaviour(latency_ms=28.0), canary, draw)
            judgement = judged(policy, look, progress=progress)
            progress, latency = judgement.progress, line(judgement, "latency")
            if judgement.verdict in {"advance", "promote"}:
                assert latency.worse < 10
            waited += latency.harmless >= latency.go_on_at and latency.standing == "wait"
    assert waited, "the evidence was never on both sides"


def test_too_few_requests_hold_whatever_the_evidence():
    judgement = judged(dataclasses.replace(ERRORS_ALONE, least_requests=5000), *looks(EQUAL, 9))
    assert judgement.verdict == "hold"
    assert judgement.reason == "4500 of 5000 requests in this step"


def test_enough_requests_without_enough_evidence_hold():
    judgement = judged(dataclasses.replace(ERRORS_ALONE, least_requests=10), *looks(EQUAL, 1, canary=20))
    assert judgement.verdict == "hold"
    assert judgement.reason == "errors: not shown yet to be less than 0.01 worse"


def test_labels_that_never_came_hold_and_the_report_says_so():
    policy = RolloutPolicy(measures="errors,accuracy")
    unlabelled = [(without(s, labelled=0, correct=0), without(c, labelled=0, correct=0)) for s, c in looks(EQUAL, 20)]
    judgement = judged(policy, *unlabelled)
    assert judgement.verdict == "hold"
    assert "accuracy: no true labels of both came back" in judgement.reason
    assert line(judgement, "errors").standing == "go on"


def test_labels_of_one_side_alone_hold():
    one_sided = [(without(s, labelled=0, correct=0), c) for s, c in looks(EQUAL, 20)]
    assert judged(RolloutPolicy(measures="accuracy"), *one_sided).verdict == "hold"


def test_labels_are_not_waited_for_where_accuracy_is_not_asked_for():
    policy = RolloutPolicy(steps="50", measures="errors,latency")
    unlabelled = [(without(s, labelled=0, correct=0), without(c, labelled=0, correct=0)) for s, c in looks(EQUAL, 20)]
    assert judged(policy, *unlabelled).verdict == "promote"


def test_another_confidence_holds_and_never_aborts():
    policy = RolloutPolicy(steps="50", measures="errors,confidence")
    shifted = [(s, without(c, confidence=Moments(500, 300.0, 185.0))) for s, c in looks(EQUAL, 20)]
    judgement = judged(policy, *shifted)
    assert judgement.verdict == "hold"
    assert "confidence: the means differ by more than 0.1" in judgement.reason
    found = line(judgement, "confidence")
    assert found.low < 0.6 - 0.9 < found.high


def test_a_missing_confidence_holds():
    policy = RolloutPolicy(steps="50", measures="errors,confidence")
    missing = [(s, without(c, confidence=Moments())) for s, c in looks(EQUAL, 20)]
    assert "no confidence of both" in judged(policy, *missing).reason


def test_copies_alone_can_abort():
    policy = RolloutPolicy(shadow=10)
    copies = [(s, without(c, latencies=(), confidence=Moments())) for s, c in looks(KINDS["errors on 2 %"], 2)]
    assert judged(policy, *copies).verdict == "abort"


@pytest.mark.parametrize(("shadow", "least"), [(10, 10_000), (0, 500)])
def test_copies_are_no_evidence_that_errors_are_few(shadow, least):
    """Undecodable images fail the stable version alone; no such request is copied, in whatever step the copies come."""
    policy = RolloutPolicy(measures="errors", shadow=shadow, least_requests=least)
    copies = Arm(requests=500, errors=5, copies=500, failed_copies=5)
    judgement = judged(policy, *[(Arm(requests=500, errors=25), copies)] * 10)
    assert line(judgement, "errors").harmless == 1.0
    assert judgement.answered == (5000 if shadow else 0)


def test_copies_in_a_step_of_copies_let_errors_go_on_without_evidence_and_no_later_step():
    policy = RolloutPolicy(measures="errors", shadow=10)
    judgement = judged(policy, (Arm(requests=5000), Arm(requests=500, copies=500)))
    assert (judgement.verdict, line(judgement, "errors").note) == ("advance", "copies alone can only speak against it")
    following = judged(policy, (Arm(requests=500), Arm(requests=30)), progress=judgement.progress)
    assert line(following, "errors").standing == "wait"


@pytest.mark.parametrize(("disagreed", "verdict"), [(5, "advance"), (200, "hold")])
def test_predictions_that_disagree_hold(disagreed, verdict):
    policy = RolloutPolicy(shadow=10, measures="errors,latency,disagreement")
    stable, canary = drawn(EQUAL, 1000), drawn(EQUAL, 500, 1)
    copies = without(canary, latencies=(), compared=500, disagreed=disagreed)
    judgement = judged(policy, (stable, copies))
    assert judgement.verdict == verdict
    assert line(judgement, "latency").note == "not compared while it answers copies alone"


def test_a_candidate_that_goes_bad_with_all_of_the_traffic_is_found_within_a_thousand_requests():
    policy = RolloutPolicy(measures="errors,latency", least_requests=3000)
    progress = judged(policy, *looks(EQUAL, 20)).progress
    assert progress.step == 3
    alone = [(drawn(EQUAL, 0), drawn(Behaviour(errors=0.02), 500, seed)) for seed in range(2)]
    judgement = judged(policy, *alone, progress=progress)
    assert judgement.verdict == "abort"
    assert judgement.reason.startswith("errors")


def test_a_rollout_without_end_is_undecided_as_the_policy_says():
    policy = RolloutPolicy(longest_s=60)
    held = judged(policy, (Arm(), Arm()), elapsed_s=61)
    assert (held.verdict, held.reason.partition(":")[0]) == ("hold", "undecided after 61 s")
    aborted = judged(dataclasses.replace(policy, undecided="abort"), (Arm(), Arm()), elapsed_s=61)
    assert aborted.verdict == "abort"


def test_it_makes_no_difference_that_progress_was_written_and_read_between_looks():
    straight = judged(RolloutPolicy(), *looks(EQUAL, 6))
    progress = Progress()
    for look in looks(EQUAL, 6):
        judgement = judged(RolloutPolicy(), look, progress=progress)
        progress = progress_from(json.loads(json.dumps(judgement.progress.as_dict(), allow_nan=False)))
    assert judgement.lines == straight.lines
    assert progress.as_dict() == straight.progress.as_dict()


def test_the_95th_percentile_is_within_a_bound_of_the_true_one():
    judgement = judged(RolloutPolicy(), *looks(EQUAL, 4))
    assert line(judgement, "latency").stable == pytest.approx(20 * np.exp(0.4 * 1.645), rel=0.1)
    assert LATENCY_BOUNDS_MS[1] / LATENCY_BOUNDS_MS[0] == pytest.approx(1.05)


def test_the_report_is_a_table_for_people_and_plain_json():
    judgement = judged(RolloutPolicy(), *looks(EQUAL, 1))
    report = RolloutReport(
        name="resnet50",
        version=2,
        against=1,
        look=1,
        step="5 %",
        steps=("5 %", "25 %"),
        share=5.0,
        answered=500,
        least=500,
        elapsed_s=1.0,
        verdict=judgement.verdict,
        reason=judgement.reason,
        lines=judgement.lines,
    )
    table = report.table().splitlines()
    assert table[0].startswith(
        "resnet50 version 2 beside version 1, step 5 % of 5 %, 25 %, look 1: 500 of at least 500"
    )
    assert [row.split()[0] for row in table[1:6]] == ["measure", "errors", "latency", "accuracy", "confidence"]
    assert json.loads(json.dumps(report.as_dict(), allow_nan=False))["lines"][2]["measure"] == "accuracy"
