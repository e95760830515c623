"""Which regression sets a candidate is asked about, and when they are found to be of no use."""

import json
import os
import re
from types import SimpleNamespace

import pytest

from pipeline import lifecycle
from pipeline.config import load_config, with_overrides
from pipeline.retrain.regression import check_sets, named_sets, regression_rules
from pipeline.retrain.seen import SEEN_ARTIFACT, log_seen, seen_by
from pipeline.retrain.start import fetch_weights, with_weights
from pipeline.retrain.unfinished import DATASET, OPEN, TO, begun, place_as_text
from pipeline.run_inputs import log_config
from pipeline.tracking import StepRun
from slipway.errors import InputError
from slipway.files import sha256_file
from tests.pipeline.test_data import image_bytes
from tests.registry.conftest import template_store, world  # noqa: F401 - fixtures


@pytest.fixture
def here(world, monkeypatch):  # noqa: F811
    """The world, for commands that are called in its folder."""
    monkeypatch.setenv("MLFLOW_TRACKING_URI", world.uri)
    monkeypatch.chdir(world.folder)
    return world


def trained_with(world, regression_set):  # noqa: F811
    version = world.version()
    document = {"retrain": {"regression_set": regression_set}}
    world.mlflow.log_text(version.run_id, json.dumps(document), "config.json")
    world.mlflow.log_text(version.run_id, json.dumps(["cat", "dog"]), "labels.json")
    return version


def config(regression_set="", **more):
    return load_config(overrides={"name": "digits", "retrain.regression_set": regression_set, **more})


def test_the_champions_set_is_asked_although_nobody_else_names_one(here):
    champion, candidate = trained_with(here, "gone"), trained_with(here, "")
    (found,) = regression_rules(config(), candidate, champion)
    assert (found.rule, found.passed, found.measured) == ("champion's regression set", False, None)
    assert "cannot compare" in found.note


def test_each_set_is_a_rule_and_one_that_several_name_is_a_single_one(here):
    champion, candidate = trained_with(here, "old"), trained_with(here, "new")
    assert named_sets(config("now"), candidate, champion) == {
        "new": "regression set",
        "old": "champion's regression set",
        "now": "configured regression set",
    }
    (here.folder / "same").mkdir()
    one = trained_with(here, str(here.folder / "same"))
    assert list(named_sets(config("same"), one, one).values()) == ["regression set"]
    assert not named_sets(config(), trained_with(here, ""), None)


def test_a_set_of_other_classes_is_said_before_a_training(here):
    (here.folder / "set" / "horse").mkdir(parents=True)
    (here.folder / "set" / "horse" / "1.png").write_bytes(image_bytes(0))
    with pytest.raises(InputError, match=r"regression set: .*'horse'; expected images of cat, dog"):
        check_sets(config("set"), SimpleNamespace(labels=("cat", "dog")), None)


def images(folder, seed=0):
    for label in ("cat", "dog"):
        (folder / label).mkdir(parents=True)
        for number in range(4):
            (folder / label / f"{number}.png").write_bytes(image_bytes(10 * seed + number + 5 * (label == "dog")))
    return folder


@pytest.fixture
def left(here):
    """A retraining on some images, for the champion, that was killed; and what it was begun with."""
    lifecycle._loaded.cache_clear()
    images(here.folder / "images")
    images(here.folder / "apart", 3)
    asked = {"data.source": "images", "retrain.regression_set": "apart", "experiment": "test", "train.epochs": 3}
    run = StepRun(here.run())
    began = load_config(overrides={"name": "digits", **asked})
    dataset = lifecycle.data(began)
    log_config(with_overrides(began, {"train.weights": "champions/0.keras", "train.keep_head": True}), dataset, run)
    run.tags({DATASET: dataset.digest, OPEN: "digits", TO: "champion"})
    lifecycle._loaded.cache_clear()
    return SimpleNamespace(run=run, folder=here.folder, asked=lambda **more: config(**{**asked, **more}))


def test_the_same_command_goes_on_with_what_was_killed_and_its_budget_is_its_own(left):
    asked = left.asked(
        **{"retrain.max_minutes": 7, "gate.minimum_accuracy": 0.9, "data.source": str(left.folder / "images")}
    )
    found = begun(asked, "champion")
    assert found.run.run_id == left.run.run_id
    assert found.config.train.weights == "champions/0.keras"
    assert (found.config.retrain.max_minutes, found.config.gate.minimum_accuracy) == (7, 0.9)


@pytest.mark.parametrize(
    ("changes", "to", "said"),
    [
        ({"data.source": "other"}, "champion", r"data.source was \S+/images, is now \S+/other"),
        ({"data.excluded": "apart"}, "champion", r"data.excluded was , is now \S+/apart"),
        ({"retrain.regression_set": "other"}, "champion", r"retrain.regression_set was \S+/apart, is now \S+/other"),
        ({"train.epochs": 5}, "champion", r"train.epochs was 3, is now 5"),
        ({"retrain.start": "scratch"}, "champion", r"retrain.start was champion, is now scratch"),
        ({}, "canary", r"to was champion, is now canary"),
    ],
)
def test_one_that_would_make_another_candidate_than_is_asked_for_is_closed(left, changes, to, said):
    images(left.folder / "other", 5)
    assert begun(left.asked(**changes), to) is None
    assert re.fullmatch(f"another candidate is asked for now: {said}", left.run.tag("slipway.error"))
    assert not left.run.is_running
    assert begun(left.asked(), "champion") is None


def test_places_are_the_same_however_they_are_written_and_whether_or_not_they_are_there(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert place_as_text("gone/images/") == place_as_text(str(tmp_path / "gone" / "images"))
    assert place_as_text("s3://bucket/images/") == "s3://bucket/images"
    assert place_as_text("digits") == "digits"


@pytest.mark.parametrize("away", ["images", "apart"])
@pytest.mark.parametrize("how", ["gone", "an empty mount"])
def test_images_that_are_away_for_a_moment_close_nothing(left, away, how):
    (left.folder / away).rename(left.folder / "elsewhere")
    if how == "an empty mount":
        (left.folder / away).mkdir()
    with pytest.raises(InputError, match=f"Run {left.run.run_id}, a retraining that was stopped, is kept"):
        begun(left.asked(), "champion")
    if how == "an empty mount":
        (left.folder / away).rmdir()
    (left.folder / "elsewhere").rename(left.folder / away)
    assert begun(left.asked(), "champion").run.run_id == left.run.run_id


def test_images_that_have_changed_close_it(left):
    (left.folder / "images" / "cat" / "0.png").write_bytes(image_bytes(99))
    assert begun(left.asked(), "champion") is None
    assert left.run.tag("slipway.error") == "its images have changed since it began"


def champion_that_saw(world, *seen):  # noqa: F811
    champion = trained_with(world, "")
    world.mlflow.log_text(champion.run_id, "weights", "network/model.keras")
    if seen:
        world.mlflow.log_text(champion.run_id, "\n".join(seen), SEEN_ARTIFACT)
    return champion


def test_a_champion_that_has_seen_images_of_the_set_is_not_begun_with(here, capsys):
    apart = images(here.folder / "apart")
    of_set = sha256_file(apart / "cat" / "0.png")
    dataset = SimpleNamespace(labels=("cat", "dog"))
    seen, unseen, unknown = (champion_that_saw(here, *each) for each in (("a" * 64, of_set), ("a" * 64,), ()))
    assert with_weights(config("apart"), seen, dataset).train.weights == "none"
    assert "has seen 1 images of the regression set: begun from scratch" in capsys.readouterr().err
    assert with_weights(config("apart"), unknown, dataset).train.weights == "none"
    assert with_weights(config("apart"), unseen, dataset).train.weights.endswith(f"champions/{unseen.run_id}.keras")
    assert with_weights(config(""), seen, dataset).train.weights.endswith(f"champions/{seen.run_id}.keras")


def test_what_a_network_has_seen_goes_on_to_those_that_begin_with_it(here):
    records = [SimpleNamespace(sha256=letter * 64) for letter in "bc"]
    dataset = SimpleNamespace(train=records[:1], validation=records[1:])
    first = champion_that_saw(here, "a" * 64)
    for earlier, seen in ((first.run_id, frozenset(letter * 64 for letter in "abc")), (here.run(), None)):
        run = StepRun(here.run())
        log_seen(config(**{"train.weights": f"champions/{earlier}.keras"}), dataset, run)
        assert seen_by(run) == seen


def test_weights_are_brought_back_to_where_the_run_has_them_and_older_ones_go(here):
    run_id = here.run()
    here.mlflow.log_text(run_id, "weights", "network/model.keras")
    folder = here.folder / "elsewhere" / "champions"
    folder.mkdir(parents=True)
    (folder / "older.keras").write_text("old")
    os.utime(folder / "older.keras", (0, 0))
    fetch_weights(config(**{"train.weights": str(folder / f"{run_id}.keras")}))
    assert [file.name for file in folder.iterdir()] == [f"{run_id}.keras"]
