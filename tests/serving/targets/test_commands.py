"""The exact process of each target."""

import dataclasses
import re
import shlex
import shutil
import sys
from pathlib import Path

import pytest

from serving.targets import ServeSpec, open_target
from serving.targets.tensorflow_model_server import IMAGE
from slipway.errors import InputError
from tests.serving.targets.conftest import program

NO_DAEMON = """#!/bin/sh
echo 'Cannot connect to the Docker daemon at unix:///var/run/docker.sock. Is the docker daemon running?' >&2
exit 1
"""
DAEMON = "#!/bin/sh\necho 28.2.2\n"


def test_the_embedded_server_follows_labels_config(spec):
    """It routes requests that name no version to `stable`, and reads the configuration four times a second."""
    assert open_target("embedded").command(spec).argv == (
        sys.executable,
        "-m",
        "serving.model_server",
        "--host=127.0.0.1",
        f"--port={spec.grpc_port}",
        f"--rest_api_port={spec.rest_port}",
        f"--model_config_file={spec.base}/labels.config",
        "--model_config_file_poll_wait_seconds=0.1",
        f"--traffic_config_file={spec.base}/traffic.json",
        f"--page_file={spec.base}/page.json",
        "--default_label=stable",
    )


def test_the_binary_on_the_path_comes_first(spec, binary):
    """The real server reads models.config, and gets only flags that it knows."""
    program(binary.parent / "docker", DAEMON)
    assert open_target("tensorflow_model_server").command(spec).argv == (
        str(binary),
        f"--port={spec.grpc_port}",
        f"--rest_api_port={spec.rest_port}",
        f"--model_config_file={spec.base}/models.config",
        "--model_config_file_poll_wait_seconds=1",
    )


def test_without_the_binary_docker_runs_its_container(spec, binary):
    """The base stands at its own path inside, read-only; ports are published on the host alone."""
    binary.unlink()
    program(binary.parent / "docker", DAEMON)
    assert open_target("tensorflow_model_server").command(spec).argv == (
        str(binary.parent / "docker"),
        "run",
        "--rm",
        "--init",
        f"--name=slipway-pets-{spec.rest_port}",
        f"--publish=127.0.0.1:{spec.grpc_port}:8500",
        f"--publish=127.0.0.1:{spec.rest_port}:8501",
        f"--mount=type=bind,source={spec.base},target={spec.base},readonly",
        "--entrypoint=tensorflow_model_server",
        IMAGE,
        "--port=8500",
        "--rest_api_port=8501",
        f"--model_config_file={spec.base}/models.config",
        "--model_config_file_poll_wait_seconds=1",
    )


@pytest.mark.parametrize(("docker", "problem"), [(None, "no docker either"), (NO_DAEMON, "no daemon .*Cannot connect")])
def test_without_binary_and_docker_the_error_says_how_to_get_one(docker, problem, spec, binary):
    """A docker client without its daemon counts as none; the error quotes it."""
    binary.unlink()
    if docker:
        program(binary.parent / "docker", docker.replace("/bin/sh", shutil.which("sh", path="/bin:/usr/bin")))
    with pytest.raises(InputError, match=rf"{problem}.*apt-get install tensorflow-model-server.*docker pull {IMAGE}"):
        open_target("tensorflow_model_server").command(spec)


def test_a_relative_base_becomes_absolute(spec, monkeypatch):
    """The server may run in another folder."""
    monkeypatch.chdir(spec.base.parent)
    relative = dataclasses.replace(spec, base=spec.base.relative_to(spec.base.parent))
    assert open_target("embedded").command(relative) == open_target("embedded").command(spec)


def test_mlflow_serves_the_verified_copy_in_this_environment(spec):
    """Its command is the one beside this Python, and finds this environment's uvicorn first."""
    command = open_target("mlflow").command(spec)
    assert command.argv == (
        shutil.which("mlflow", path=str(sys.prefix) + "/bin"),
        "models",
        "serve",
        f"--model-uri={spec.model_directory}",
        "--env-manager=local",
        "--host=127.0.0.1",
        f"--port={spec.rest_port}",
    )
    assert command.environment["PATH"].startswith(f"{sys.prefix}/bin:")


@pytest.mark.parametrize("start", ["tensorflow_model_server", "docker"])
def test_the_page_on_tensorflow_serving_shows_what_is_started(start, spec, binary):
    """docs/serve-with-tensorflow-serving.md has the same command, for the defaults."""
    if start == "docker":
        binary.unlink()
        program(binary.parent / "docker", DAEMON)
    page = (Path(__file__).parents[3] / "docs" / "serve-with-tensorflow-serving.md").read_text()
    shown = re.search(rf"^\$ ({start} .*)$", page, re.MULTILINE)[1].replace("$PWD/serving_base", str(spec.base))
    defaults = ServeSpec("resnet50", spec.base)
    assert tuple(shlex.split(shown)[1:]) == open_target("tensorflow_model_server").command(defaults).argv[1:]
