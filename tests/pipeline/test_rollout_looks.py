"""A rollout by its command: what a look does to traffic, aliases, tags, ledger and run, and after a kill."""

import random
import time
from dataclasses import replace

import pytest

from pipeline.rollout.state import load_state, save_state
from registry.deployment import ROLLED_BACK
from serving.traffic import Traffic, traffic_config
from slipway.errors import IntegrityError
from tests.pipeline.rollout_scene import Scene, Seen, telling
from tests.pipeline.rollout_world import NAME

pytestmark = pytest.mark.integration

QUICK = ("--least-requests", "100", "--steps", "10,100")


@pytest.fixture(scope="module")
def scene(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch, Scene(tmp_path_factory.mktemp("rollout"), patch).open() as scene:
        yield scene


@pytest.fixture
def begun(scene):
    """A rollout that has just begun; gives the candidate's number."""
    version = scene.challenger()
    scene.seen.happens(scene.champion, version)
    done, document = scene.look(*QUICK)
    assert document, done.err
    assert document["report"]["reason"] == "begun with 10 % of the traffic"
    yield version
    if scene.aliases.get("challenger") == version:
        scene.look("--abort", "--reason", "the test is over")


def test_a_rollout_begins_with_the_first_share_and_what_was_answered_before_does_not_count(scene, begun):
    assert scene.traffic == Traffic(90, 10)
    report = scene.look()[1]["report"]
    assert (report["verdict"], report["answered"], report["version"]) == ("hold", 0, begun)
    (run,) = scene.runs(begun)
    assert run.info.status == "RUNNING"
    assert run.data.params["rollout.steps"] == "10,100"


def test_a_good_candidate_goes_on_and_is_promoted_with_the_gate_s_report(scene, begun):
    former = scene.champion
    scene.seen.happens(former, begun)
    assert scene.verdict() == ("hold", 0), "what is slow is known from the look before"
    scene.seen.happens(former, begun)
    assert scene.verdict() == ("advance", 0)
    assert scene.traffic == Traffic(0, 100)
    scene.seen.happens(former, begun)
    assert scene.verdict() == ("promote", 0)
    scene.champion = begun
    assert scene.aliases == {"champion": begun}
    assert scene.traffic is None
    assert scene.entries(begun) == [
        ("rollout", "hold"),
        ("rollout", "advance"),
        ("rollout", "promote"),
        ("promote", ""),
    ]
    promoted = scene.ledger.last(NAME, "champion")
    assert (promoted.origin, promoted.gate_report["passed"], promoted.from_version) == ("rollout", True, former)
    (run,) = scene.runs(begun)
    assert (run.info.status, run.data.tags["slipway.rollout_ended"]) == ("FINISHED", "promoted")
    points = scene.mlflow.get_metric_history(run.info.run_id, "accuracy.canary")
    assert [point.step for point in points] == [2, 3, 4]
    assert scene.registry.version(NAME, begun).tags["slipway.deploy"] == "live"


def test_a_bad_candidate_is_aborted_and_its_tags_say_the_numbers(scene, begun):
    scene.seen.happens(scene.champion, begun, "errors on 2 %")
    done, document = scene.look()
    assert done.code == 3
    assert document["report"]["verdict"] == "abort"
    assert scene.traffic is None
    assert scene.aliases == {"champion": scene.champion}
    version = scene.registry.version(NAME, begun)
    assert version.tags["slipway.deploy"] == "refused"
    assert version.tags["slipway.deploy_reason"].startswith("errors: worse by more than 0 (0.0")
    assert version.stage != "Staging"
    entry = scene.ledger.entries(NAME)[-1]
    assert (entry.from_version, entry.to_version, entry.action) == (begun, None, "rollout")
    assert entry.gate_report["lines"][0]["worse"] >= entry.gate_report["lines"][0]["abort_at"]
    (run,) = scene.runs(begun)
    assert (run.info.status, run.data.tags["slipway.rollout_ended"]) == ("FINISHED", "aborted")
    scene.ledger.verify_chain()


def test_a_candidate_that_the_gate_refuses_at_the_end_is_aborted(scene, begun):
    verdicts = []
    while not verdicts or verdicts[-1][1] == 0:
        scene.seen.happens(scene.champion, begun)
        done, document = scene.look("--minimum-accuracy", "0.99")
        verdicts.append((document["report"]["verdict"], done.code))
    assert verdicts == [("hold", 0), ("advance", 0), ("abort", 3)]
    assert document["report"]["reason"] == "the gate refuses it: accuracy"
    assert scene.traffic is None
    assert scene.aliases == {"champion": scene.champion}
    assert scene.entries(begun)[-2:] == [("rollout", "promote"), ("rollout", "abort")]


def test_a_candidate_that_is_rolled_back_from_meanwhile_is_aborted_instead_of_promoted(scene, begun):
    scene.registry.set_tags(NAME, begun, {ROLLED_BACK: "complaints"})
    verdicts = []
    while not verdicts or verdicts[-1][1] == 0:
        scene.seen.happens(scene.champion, begun)
        verdicts.append(scene.verdict())
    assert verdicts == [("hold", 0), ("advance", 0), ("abort", 3)]
    assert scene.traffic is None
    assert scene.aliases == {"champion": scene.champion}
    assert scene.entries(begun)[-2:] == [("rollout", "promote"), ("rollout", "abort")]
    tags = scene.registry.version(NAME, begun).tags
    assert tags["slipway.deploy"] == "refused"
    assert "was rolled back from (complaints)" in tags["slipway.deploy_reason"]


def test_a_candidate_whose_bytes_changed_is_aborted_instead_of_promoted(scene, begun, monkeypatch):
    def publish(*_words):
        raise IntegrityError("model.onnx is not the registered one")

    save_state(scene.ledger, replace(load_state(scene.ledger, NAME), phase="promoting"))
    monkeypatch.setattr("pipeline.promotion.publish", publish)
    done, document = scene.look()
    assert (done.code, document["ended"]) == (3, "aborted")
    assert scene.traffic is None
    assert scene.aliases == {"champion": scene.champion}
    assert scene.ledger.entries(NAME)[-1].reason.endswith(
        "it could not be promoted: model.onnx is not the registered one"
    )


def test_a_candidate_that_was_rolled_back_from_begins_no_rollout(scene):
    version = scene.challenger()
    scene.registry.set_tags(NAME, version, {ROLLED_BACK: "complaints"})
    done, _ = scene.look(*QUICK)
    assert done.code == 2
    assert f"version {version} was rolled back from (complaints)" in done.error
    assert scene.traffic is None
    scene.registry.delete_alias(NAME, "challenger")


def test_a_person_ends_a_promotion_that_does_not_come_about(scene, begun):
    save_state(scene.ledger, replace(load_state(scene.ledger, NAME), phase="promoting"))
    done, document = scene.look("--abort", "--reason", "it takes too long")
    assert (done.code, document["ended"]) == (3, "aborted")
    assert scene.traffic is None
    assert scene.aliases == {"champion": scene.champion}
    assert scene.entries(begun)[-1] == ("rollout", "abort")


def test_a_promotion_whose_alias_has_moved_is_finished_although_a_person_would_end_it(scene, begun):
    save_state(scene.ledger, replace(load_state(scene.ledger, NAME), phase="promoting", reason="good"))
    scene.registry.set_alias(NAME, "champion", begun)
    done, document = scene.look("--abort", "--reason", "too late")
    assert (done.code, document["ended"]) == (0, "promoted"), done.err
    scene.champion = begun
    assert scene.aliases == {"champion": begun}


def test_what_somebody_had_set_of_the_traffic_holds_during_a_rollout_and_is_there_after_it(scene):
    file = scene.base / "traffic.json"
    file.write_bytes(traffic_config(None, NAME, Traffic(95, 5, 3, "x-user", True)))
    version = scene.challenger()
    scene.seen.happens(scene.champion, version)
    scene.look(*QUICK)
    assert scene.traffic == Traffic(90, 10, 3, "x-user", True)
    scene.look("--abort", "--reason", "the test is over")
    assert scene.traffic == Traffic(100, 0, 3, "x-user", True)
    file.unlink()


def test_a_hold_that_goes_on_is_one_entry_and_a_metric_for_each_look(scene, begun):
    for _ in range(3):
        scene.seen.happens(scene.champion, begun, requests=5)
        assert scene.verdict() == ("hold", 0)
    assert scene.entries(begun) == [("rollout", "hold")]
    (run,) = scene.runs(begun)
    assert len(scene.mlflow.get_metric_history(run.info.run_id, "share")) == 4


def test_a_person_ends_it_for_a_reason(scene, begun):
    done, _ = scene.look("--abort", "--reason", "customers complain")
    assert done.code == 3
    assert scene.traffic is None
    assert "challenger" not in scene.aliases
    assert scene.registry.version(NAME, begun).tags["slipway.deploy_reason"] == "customers complain"
    assert scene.look("--abort", "--reason", "again")[0].error.startswith(f"{NAME} has no rollout under way")


def test_a_challenger_that_somebody_moved_ends_it_without_a_judgement(scene, begun):
    other = scene.challenger()
    done, document = scene.look()
    assert done.code == 3
    assert f"challenger version {other}" in document["report"]["reason"]
    assert scene.traffic is None
    assert scene.aliases["challenger"] == other
    assert scene.registry.version(NAME, begun).tags.get("slipway.deploy") != "refused"
    scene.registry.delete_alias(NAME, "challenger")


def test_another_policy_is_refused_and_what_does_not_touch_the_evidence_is_not(scene, begun):
    done, _ = scene.look("--steps", "50")
    assert done.code == 2
    assert "began with steps '10,100'" in done.error
    assert scene.verdict("--steps", "10,100", "--longest-s", "99999", "--total-error", "0.01") == ("hold", 0)


def test_a_server_that_does_not_answer_is_named_and_one_that_does_is_enough(scene, begun):
    nobody = "http://127.0.0.1:9"
    done, _ = scene.look(*QUICK, rest=nobody)
    assert done.code == 1
    assert "no server tells what it saw" in done.error
    assert scene.traffic == Traffic(90, 10)
    other = Seen()
    other.happens(scene.champion, begun, requests=10)
    with telling(other) as address:
        report = scene.look(*QUICK, rest=f"{nobody},{address}")[1]["report"]
    assert report["verdict"] == "hold"
    assert any(note.startswith(nobody) for note in report["notes"])


def test_a_rollout_that_takes_too_long_is_undecided_and_keeps_its_traffic(scene, begun):
    time.sleep(1.1)
    done, document = scene.look(*QUICK, "--longest-s", "1")
    assert (document["report"]["verdict"], done.code) == ("hold", 0)
    assert document["report"]["reason"].startswith("undecided after")
    assert scene.traffic == Traffic(90, 10)


def test_without_a_challenger_nothing_begins(scene):
    assert "challenger" not in scene.aliases
    done, _ = scene.look()
    assert done.code == 2
    assert "has no alias challenger" in done.error
    assert scene.traffic is None


def test_a_challenger_that_the_gate_refuses_gets_no_traffic(scene):
    version = scene.challenger()
    done, document = scene.look("--minimum-accuracy", "0.99")
    assert done.code == 3
    assert f"the gate refuses version {version}" in document["refused"]
    assert scene.traffic is None
    scene.registry.delete_alias(NAME, "challenger")


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--once", "--watch"), "--once and --watch are both given"),
        (("--abort",), "expected --abort and --reason together"),
        (("--reason", "x"), "expected --abort and --reason together"),
        (("--steps", "9,5"), "steps is '9,5'"),
        (("--policy", "nowhere.yaml"), "nowhere.yaml: No such file"),
        (("--labels", "nowhere.csv"), "nowhere.csv: No such file"),
    ],
)
def test_wrong_words_are_refused_in_one_line(scene, words, said):
    done, _ = scene.look(*words)
    assert done.code == 2
    assert said in done.error


@pytest.mark.parametrize("at", random.Random(8).sample(range(1, 16), 1))
def test_an_abort_that_is_killed_is_finished_by_the_next_look(scene, at):
    scene.check_killed_abort(at)


@pytest.mark.parametrize("at", random.Random(8).sample(range(1, 30), 1))
def test_a_promotion_that_is_killed_is_finished_by_the_next_look(scene, at):
    scene.check_killed_promotion(at)
