"""Which regression sets a candidate is asked about, and when they are found to be of no use."""

import json
import os
from types import SimpleNamespace

import pytest

from pipeline.config import load_config
from pipeline.retrain.regression import check_sets, named_sets, regression_rules
from pipeline.retrain.start import fetch_weights
from pipeline.retrain.unfinished import DATASET, OPEN, begun
from slipway.errors import InputError
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


def test_a_retraining_is_not_gone_on_with_when_another_set_is_asked_for(here):
    run_id = here.run()
    here.mlflow.log_text(run_id, json.dumps({"name": "digits", "retrain": {"regression_set": "one"}}), "config.json")
    for key, value in {OPEN: "digits", DATASET: "d" * 64}.items():
        here.mlflow.set_tag(run_id, key, value)
    assert begun(config("another", experiment="test")) is None
    run = here.mlflow.get_run(run_id)
    assert (run.info.status, run.data.tags["slipway.error"]) == ("KILLED", "another regression set is asked for now")


def test_weights_are_brought_back_to_where_the_run_has_them_and_older_ones_go(here):
    run_id = here.run()
    here.mlflow.log_text(run_id, "weights", "network/model.keras")
    folder = here.folder / "elsewhere" / "champions"
    folder.mkdir(parents=True)
    (folder / "older.keras").write_text("old")
    os.utime(folder / "older.keras", (0, 0))
    fetch_weights(config(**{"train.weights": str(folder / f"{run_id}.keras")}))
    assert [file.name for file in folder.iterdir()] == [f"{run_id}.keras"]
