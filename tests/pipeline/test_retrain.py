"""`retrain` by its command line: two at once, a kill in the middle, poisoned images, no reason. One story.

The story: somebody shuffles the labels of half the images. A first `retrain` is killed while it trains; a second one
goes on with it, while a third asks to be let in; the candidate is refused. Each test looks at one part of it.
"""

import csv
import os
import random
import signal
from types import SimpleNamespace

import pytest
from mlflow import MlflowClient

from tests.pipeline.conftest import ended_well
from tests.pipeline.lifecycle_world import NAME, NETWORK, World, json_of, wait_until

pytestmark = pytest.mark.integration

REGRESSION = 60
TRAIN = (*NETWORK, "--epochs", "2", "--batch-size", "64", "--max-minutes", "10", "--learning-rate", "0.003")
WITHOUT_SCHEDULE = tuple(word for word in TRAIN if word not in {"--schedule", "cosine"})


def pictures(world):
    return sorted((world.folder / ".slipway" / "digits").glob("*/*.png"))


def manifest(world, name, rows):
    file = world.folder / name
    with file.open("w", newline="") as text:
        csv.writer(text).writerows([("path", "label"), *rows])
    return file


def regression_set(world):
    chosen = random.Random(0).sample(pictures(world), REGRESSION)
    return manifest(world, "regression.csv", [(file, file.parent.name) for file in chosen])


def poisoned(world):
    """Every image, half of them under the label of another one."""
    files = pictures(world)
    labels = [file.parent.name for file in files]
    places = random.Random(1).sample(range(len(files)), len(files) // 2)
    others = [labels[place] for place in places]
    for place, label in zip(places, others[1:] + others[:1], strict=True):
        labels[place] = label
    return manifest(world, "poisoned.csv", zip(files, labels, strict=True))


def runs(world, condition):
    client = MlflowClient(world.uri)
    experiment = client.get_experiment_by_name("slipway")
    return client.search_runs([experiment.experiment_id], condition)


def phase(world):
    """The phase of the retraining that is open, and whether it has learned an epoch."""
    found = runs(world, f"tags.`slipway.retrain_open` = '{NAME}'")
    return found[0].data.tags["slipway.retrain_phase"] if found else ""


def has_learned(world):
    parent = runs(world, f"tags.`slipway.retrain_open` = '{NAME}'")
    below = runs(world, f"tags.`mlflow.parentRunId` = '{parent[0].info.run_id}'") if parent else []
    return below and MlflowClient(world.uri).list_artifacts(below[0].info.run_id, "checkpoint")


@pytest.fixture(scope="module")
def story(original, first, tmp_path_factory):
    """What became of the three; version 1 was live before."""
    world: World = original.copy(tmp_path_factory.mktemp("retrain") / "world")
    words = ("retrain", "--data", poisoned(world), "--regression-set", regression_set(world), *WITHOUT_SCHEDULE)
    killed = world.start(*words)
    wait_until(lambda: has_learned(world), "it never learned an epoch", every_s=0.2)
    os.killpg(killed.pid, signal.SIGKILL)
    killed.communicate()
    left = runs(world, f"tags.`slipway.retrain_open` = '{NAME}'")
    going_on = world.start(*words, "--json")
    wait_until(lambda: runs(world, "tags.`slipway.retrain_attempts` = '2'"), "it never went on", every_s=0.2)
    asking = world.run("retrain", "--force")
    return SimpleNamespace(world=world, left=left, ended=world.finish(going_on), asking=asking)


def test_of_two_at_once_one_says_who_is_at_it_and_ends_with_0(story):
    assert story.asking.code == 0, story.asking.err
    assert "another process is at it (lease 'retrain:resnet50': " in story.asking.out
    assert "process " in story.asking.out


def test_one_that_was_killed_is_gone_on_with_from_its_last_epoch(story):
    outcome = json_of(story.ended)
    assert [run.info.run_id for run in story.left] == [outcome["run_id"]]
    assert outcome["resumed"]
    below = runs(story.world, f"tags.`mlflow.parentRunId` = '{outcome['run_id']}'")
    steps = sorted(run.data.tags["slipway.step"] for run in below)
    assert steps.count("train") == 1
    assert "epoch 1/2" not in story.ended.err
    assert "epoch 2/2" in story.ended.err
    assert not runs(story.world, "attributes.status = 'RUNNING'")


def test_poisoned_images_end_in_a_refusal_and_the_champion_stays(story):
    assert story.ended.code == 3, story.ended.err
    outcome = json_of(story.ended)
    assert outcome["ending"] == "refused"
    assert set(map(str, story.world.live().values())) == {"1", "[1]"}
    tags = story.world.registry.model(NAME).tags
    assert (
        tags["slipway.retrain"]
        == story.world.registry.version(NAME, outcome["version"]).tags["slipway.retrain"]
        == "refused"
    )
    assert tags["slipway.retrain_run"] == outcome["run_id"]


def test_the_regression_set_is_in_no_split_and_is_a_rule_of_the_gate(story):
    outcome = json_of(story.ended)
    rule = next(rule for rule in outcome["gate"]["rules"] if rule["rule"] == "regression set")
    assert not rule["passed"]
    assert rule["measured"] < rule["limit"]
    assert rule["note"].startswith(f"{REGRESSION} images, ")
    assert outcome["excluded"] >= REGRESSION
    assert f"left out because they are excluded: {outcome['excluded']}" in story.ended.err


def test_the_gate_by_hand_knows_the_regression_set_as_well(story, monkeypatch):
    done = story.world.call(monkeypatch, "gate", "--version", json_of(story.ended)["version"], "--json")
    assert done.code == 3
    assert "regression set" in [rule["rule"] for rule in json_of(done)["rules"]]


def test_after_a_refusal_there_is_no_other_attempt_for_a_while(story, monkeypatch):
    """Digits as they are: the champion's own, so not new; old images of a folder of another name would be."""
    world = story.world
    rows = [(file, file.parent.name) for file in pictures(world)][:-3]
    done = world.call(monkeypatch, "retrain", "--data", manifest(world, "fewer.csv", rows))
    assert done.code == 0
    assert "the cool-down lasts 4" in done.out
    assert "there would be a reason: new data" in done.out
    assert world.registry.model(NAME).tags["slipway.retrain"] == "declined"


def test_without_a_reason_it_declines_and_says_what_it_looked_at(world, monkeypatch):
    done = world.call(monkeypatch, "retrain")
    assert done.code == 0
    assert "not retrained (nothing to learn: dataset ae57527c9d52 is the one" in done.out
    assert len(done.out.splitlines()) == 1


def test_a_budget_too_small_for_one_epoch_fails_and_says_so(world):
    done = world.run("retrain", "--force", "--max-minutes", "0.001")
    assert done.code == 1
    assert "the budget was up before the first epoch ended" in done.error
    assert world.registry.model(NAME).tags["slipway.retrain"] == "failed"
    assert not runs(world, f"tags.`slipway.retrain_open` = '{NAME}'")


def test_the_champions_weights_are_begun_with_and_a_better_candidate_goes_live(world):
    """One more epoch of a good network does not lose what it has learned, which beginning anew would."""
    done = ended_well(world.run("retrain", "--force", "--epochs", "2", "--learning-rate", "0.0005", "--json"))
    outcome = json_of(done)
    assert outcome["ending"] == "promoted"
    assert set(map(str, world.live().values())) == {"4", "[4]"}
    first_epoch = next(line for line in done.err.splitlines() if "epoch 1/2" in line)
    assert float(first_epoch.split("  accuracy ")[1].split()[0]) > 0.93


def test_a_schedule_says_when_it_retrains_next_and_ends_in_order(original):
    process = original.start("retrain", "--schedule", "0 3 * * *")
    line = process.stderr.readline()
    os.kill(process.pid, signal.SIGTERM)
    done = original.finish(process, 60)
    assert line.startswith("next retraining at ")
    assert " 03:00:00" in line
    assert (done.code, done.err) == (0, "stopping\n")
