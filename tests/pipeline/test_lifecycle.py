"""From images to a live version, by one command, and by its steps one after the other."""

import re
from pathlib import Path

import pytest

from serving.model_config import listed
from tests.pipeline.conftest import HASTY, ended_well
from tests.pipeline.lifecycle_world import NAME, json_of

pytestmark = pytest.mark.integration

STEPS = {"main", "train", "evaluate", "register", "gate"}


def client(world):
    from mlflow import MlflowClient

    return MlflowClient(world.uri)


def runs(world):
    experiment = client(world).get_experiment_by_name("slipway")
    return client(world).search_runs([experiment.experiment_id], max_results=200)


def train_run(world, done):
    return client(world).get_run(done.found(r"run +([0-9a-f]{32})"))


def artifacts(world, run, folder=""):
    return {entry.path for entry in client(world).list_artifacts(run.info.run_id, folder)}


def test_main_nests_a_finished_run_of_each_step_below_one(world, first):
    """One parent named main; train, evaluate, register and gate below it; all FINISHED."""
    parent = train_run(world, first).data.tags["mlflow.parentRunId"]
    family = [run for run in runs(world) if parent in (run.info.run_id, run.data.tags.get("mlflow.parentRunId"))]
    assert {run.info.run_name for run in family} == STEPS
    assert {run.data.tags["slipway.step"] for run in family} == STEPS
    assert {run.info.status for run in family} == {"FINISHED"}


def test_a_training_logs_every_key_of_its_resolved_configuration(world, first):
    """Each key of config.json is a parameter with its value, and the network's size is one more."""
    from pipeline.config import config_from_json, flat
    from pipeline.options import config_keys

    run = train_run(world, first)
    text = client(world).download_artifacts(run.info.run_id, "config.json", str(world.folder))
    config = flat(config_from_json(Path(text).read_text(), "the run"))
    assert set(config) == set(config_keys())
    logged = {key.removeprefix("slipway."): value for key, value in run.data.params.items()}
    assert logged == {**{key: str(value) for key, value in config.items()}, "parameters": logged["parameters"]}
    assert run.data.params["train.network"] == "tiny"
    assert int(run.data.params["parameters"]) > 100_000


def test_a_training_logs_curves_by_epoch_and_the_systems_load(world, first):
    """Loss and accuracy of training and validation, a point an epoch, 1 to 3; some system metric."""
    run = train_run(world, first)
    for metric in ("loss", "accuracy", "val_loss", "val_accuracy"):
        assert [point.step for point in client(world).get_metric_history(run.info.run_id, metric)] == [1, 2, 3]
    assert any(name.startswith("system/") for name in run.data.metrics)


def test_a_training_names_its_data_and_its_code(world, first):
    """The dataset's digest is the one of the dataset tag; the commit is a git commit."""
    run = train_run(world, first)
    (logged,) = run.inputs.dataset_inputs
    assert run.data.tags["slipway.dataset_digest"].startswith(logged.dataset.digest)
    assert re.fullmatch(r"[0-9a-f]{40}(-dirty)?", run.data.tags["slipway.git_commit"])


def test_pictures_and_evaluation_are_with_the_run(world, first):
    """Learning curves, confusion matrix, per-class bars, worst mistakes; held-out numbers; no checkpoint left."""
    run = train_run(world, first)
    pictures = {"learning_curves.png", "confusion_matrix.png", "per_class.png", "worst_mistakes.png"}
    pictures |= {"worst_mistakes_explained.png"}
    assert pictures <= artifacts(world, run)
    assert "checkpoint" not in artifacts(world, run)
    numbers = {"accuracy", "top3_accuracy", "macro_f1", "log_loss", "calibration_error"}
    assert {f"test_{name}" for name in numbers} <= set(run.data.metrics)
    assert f"accuracy   {run.data.metrics['test_accuracy']:.4f} on 179 held-out images" in first.out


def test_the_version_says_where_it_comes_from_and_how_to_call_it(world, first):
    """Tags for run, commit, data, manifest, parity, size and gate; a description with accuracy and a call."""
    run = train_run(world, first)
    version = world.registry.version(NAME, 1)
    assert version.run_id == run.info.run_id
    assert version.tags["slipway.git_commit"] == run.data.tags["slipway.git_commit"]
    assert version.tags["slipway.dataset_digest"] == run.data.tags["slipway.dataset_digest"]
    assert re.fullmatch(r"[0-9a-f]{64}", version.tags["slipway.manifest_digest"])
    assert float(version.tags["slipway.parity"]) <= 1e-5
    size = sum(path.stat().st_size for path in world.servable(1).rglob("*") if path.is_file())
    assert int(version.tags["slipway.size_bytes"]) == size
    assert version.tags["slipway.gate"] == "passed"
    assert f"{run.data.metrics['test_accuracy']:.4f}" in version.description
    assert "curl" in version.description


def test_main_ends_with_a_version_that_is_live_and_has_answered(world, first):
    """Alias, stage, ledger and both config files say version 1; the last lines say what it answered."""
    assert set(map(str, world.live().values())) == {"1", "[1]"}
    (entry,) = world.ledger.entries(NAME)
    assert (entry.action, entry.alias, entry.from_version, entry.to_version) == ("promote", "champion", None, 1)
    assert entry.gate_report["passed"]
    assert (world.base / NAME / "1" / "saved_model.pb").is_file()
    assert re.search(r"golden +passed: 64 golden requests", first.out)
    assert re.search(r"served +\S+: (\d) with probability 0\.\d+, by version 1; it is \1", first.out)
    assert [line.split()[0] for line in first.out.splitlines()[-2:]] == ["next", "then"]


def test_each_step_says_the_next_command_and_that_command_works(second):
    """train -> evaluate -> register -> gate -> promote, each called by the words that the one before it printed."""
    run_id = second.train.found(r"run ([0-9a-f]{32})")
    assert second.train.next_words == ["evaluate", "--run-id", run_id]
    assert second.evaluate.next_words == ["register", "--run-id", run_id]
    assert second.register.next_words == ["gate", "--name", NAME, "--version", "2"]
    assert second.gate.next_words[:5] == ["promote", "--name", NAME, "--version", "2"]
    assert "against champion version 1" in second.gate.out


def test_a_promotion_goes_live_and_a_rollback_undoes_it(world, second):
    """promote, status, history, predict and rollback as processes, on what the gate printed."""
    promote = ended_well(world.run(*second.gate.next_words, "--reason", "better on zeros"))
    assert f"{NAME}: champion is version 2, was version 1" in promote.out
    assert set(map(str, world.live().values())) == {"2", "[2]"}
    assert world.registry.version(NAME, 1).stage == "Archived"

    (status,) = json_of(ended_well(world.run("status", "--json")))["models"]
    assert (status["champion"], status["previous"], status["differences"]) == (2, 1, [])
    assert [row["published"] for row in status["versions"]] == ["yes", "yes", "no"]

    seen = json_of(ended_well(world.run("predict", world.picture(7), "--json")))["predictions"]
    assert [(each["label"], each["version"]) for each in seen] == [("7", "2")]

    rollback = ended_well(world.run("rollback", "--reason", "complaints"))
    assert f"{NAME}: champion is version 1, was version 2" in rollback.out
    assert set(map(str, world.live().values())) == {"1", "[1]"}
    assert (world.base / NAME / "2").is_dir()

    rows = json_of(ended_well(world.run("history", "--json")))
    assert [(row["action"], row["from_version"], row["to_version"], row["gate"]) for row in rows] == [
        ("promote", None, 1, "passed"),
        ("promote", 1, 2, "passed"),
        ("rollback", 2, 1, "none"),
    ]
    assert [row["reason"] for row in rows[1:]] == ["better on zeros", "complaints"]
    world.ledger.verify_chain()


def test_challenging_changes_nothing_that_is_live(world, monkeypatch):
    """promote --to challenger: alias, stage Staging, loaded as the canary; what answers unlabelled requests stays."""
    before = world.live()
    done = ended_well(world.call(monkeypatch, "promote", "--version", "2", "--to", "challenger"))
    assert f"{NAME}: challenger is version 2, was none" in done.out
    assert world.live() == before
    labels = listed((world.base / "labels.config").read_bytes(), "labels.config", NAME)
    models = listed((world.base / "models.config").read_bytes(), "models.config", NAME)
    assert dict(labels.labels) == {"stable": 1, "canary": 2}
    assert (models.versions, models.candidates) == ({1}, {2})
    assert world.registry.version(NAME, 2).stage == "Staging"
    assert world.registry.aliases(NAME) == {"champion": 1, "challenger": 2}


def test_mlflow_run_is_the_same_training_with_the_same_parameters(world, hasty_run):
    """`mlflow run -e train -P ...` and the command with these options: equal parameters, bit-equal weights."""
    import keras
    import numpy as np

    words = [word for key, value in HASTY.items() for word in (f"--{key}", value)]
    direct = train_run(world, ended_well(world.run("train", *words)))
    by_mlflow = train_run(world, hasty_run)
    assert direct.data.params.items() <= by_mlflow.data.params.items()
    assert by_mlflow.data.params["train.epochs"] == "1"
    weights = [
        keras.models.load_model(
            client(world).download_artifacts(run.info.run_id, "network/model.keras", str(world.folder)), compile=False
        ).get_weights()
        for run in (direct, by_mlflow)
    ]
    for one, other in zip(*weights, strict=True):
        np.testing.assert_array_equal(one, other)
