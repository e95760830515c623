"""The Job that MLflow's Kubernetes backend makes of an entry point, built by its own code and started as written."""

import json
import os
import subprocess
import sys
from pathlib import Path

import kubernetes_validate
import pytest
from mlflow.projects import _parse_kubernetes_config
from mlflow.projects.docker import validate_docker_env
from mlflow.projects.kubernetes import _get_kubernetes_job_definition, _get_run_command
from mlflow.projects.utils import get_entry_point_command, load_project

from pipeline.cli import main
from pipeline.mlproject import KUBERNETES, entry_points, kubernetes_mlproject
from pipeline.unquoted import unquoted
from slipway.errors import InputError

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / "deploy" / "mlflow-run"
DIGEST = "sha256:" + "0" * 64
AWKWARD = ["", "5", "my images", "o'brien's", 'a "quoted" word', "$HOME", "a\\b", "s3://bucket/a?b&c", "ä ö"]


def job(entry_point, parameters, monkeypatch, storage):
    """As `mlflow run` goes on once the image is pushed."""
    monkeypatch.chdir(ROOT)
    project = load_project(str(FOLDER))
    validate_docker_env(project)
    config = _parse_kubernetes_config(json.loads((FOLDER / "backend-config.json").read_text()))
    command = get_entry_point_command(project, entry_point, parameters, str(storage))
    variables = {"MLFLOW_RUN_ID": "1", "MLFLOW_TRACKING_URI": "http://mlflow:5000", "MLFLOW_EXPERIMENT_ID": "0"}
    words = _get_run_command(command)
    image = f"{config['repository-uri']}:1234567"
    return _get_kubernetes_job_definition(project.name, image, DIGEST, words, variables, config["kube-job-template"])


def container(built):
    (only,) = built["spec"]["template"]["spec"]["containers"]
    return only


def start(command, folder):
    """As a container runtime does: the words as they are, no shell."""
    python, *words = command
    assert python == "python"
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "MLFLOW_TRACKING_URI": f"sqlite:///{folder}/mlflow.db"}
    return subprocess.run(
        [sys.executable, *words], capture_output=True, text=True, check=False, cwd=folder, env=environment, timeout=120
    )


def test_the_project_for_kubernetes_is_what_the_command_line_makes():
    assert KUBERNETES.read_text(encoding="utf-8") == kubernetes_mlproject(), "run `make generate`"


@pytest.mark.parametrize("name", entry_points())
def test_the_words_that_kubernetes_is_given_for_a_step_are_words_that_the_step_takes(name, monkeypatch, tmp_path):
    command = container(job(name, {}, monkeypatch, tmp_path))["command"]
    assert command[:4] == ["python", "-m", "pipeline.unquoted", name]
    assert "''" in command[4:]  # the quotes that no shell takes away
    arguments = unquoted(command[4:])
    expected = []
    for parameter in main.commands[name].params:
        expected += ["" if parameter.param_type_name == "argument" else parameter.opts[0]]
        expected += [""] if parameter.param_type_name == "option" else []
    assert arguments == expected


@pytest.mark.parametrize("value", AWKWARD)
def test_a_parameter_arrives_as_it_was_given(value, monkeypatch, tmp_path):
    arguments = unquoted(container(job("train", {"data": value}, monkeypatch, tmp_path))["command"][4:])
    assert arguments[arguments.index("--data") + 1] == value


@pytest.mark.parametrize("version", ["1.30", "1.31", "1.32", "1.33", "1.34"])
def test_the_job_that_mlflow_creates_is_valid_and_knows_its_run_and_its_image_by_digest(version, monkeypatch, tmp_path):
    built = job("train", {"data": "s3://images/pets"}, monkeypatch, tmp_path)
    kubernetes_validate.validate(built, version, strict=True)
    assert built["metadata"]["name"].startswith("slipway-")
    assert container(built)["image"].endswith(f":1234567@{DIGEST}")
    assert {"name": "MLFLOW_RUN_ID", "value": "1"} in container(built)["env"]


def test_what_is_not_one_quoted_word_is_refused():
    for argument in ("o'brien", "my images", ""):
        with pytest.raises(InputError, match="python -m pipeline"):
            unquoted([argument])


def test_the_container_starts_the_step_with_the_parameters_that_were_given(monkeypatch, tmp_path):
    command = container(job("train", {"data": "no such folder"}, monkeypatch, tmp_path))["command"]
    assert start(command, tmp_path).stderr.startswith("Error: data.source: 'no such folder' does not exist")


def test_without_taking_the_quotes_off_no_step_would_start(monkeypatch, tmp_path):
    command = container(job("train", {"epochs": "3"}, monkeypatch, tmp_path))["command"]
    done = start(["pipeline" if word == "pipeline.unquoted" else word for word in command], tmp_path)
    assert done.returncode == 2
    assert "\"''\" is not a valid" in done.stderr
