"""The exact process of each target."""

import dataclasses
import re
import shlex
import shutil
import sys
from pathlib import Path

import pytest

from serving.targets import ServeSpec, open_target
from serving.targets.telemetry import Telemetry
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


SHOWN = Telemetry(Path("/m/monitoring.config"), "json", "http://127.0.0.1:4318", 0.01)


def test_the_embedded_server_shows_what_is_asked_for(spec):
    """Metrics, log and traces are its own flags, before the user's."""
    argv = open_target("embedded").command(dataclasses.replace(spec, telemetry=SHOWN, extra_args=("--mine",))).argv
    assert argv[-5:] == (
        "--monitoring_config_file=/m/monitoring.config",
        "--log_format=json",
        "--trace_endpoint=http://127.0.0.1:4318",
        "--trace_sample=0.01",
        "--mine",
    )


def test_tensorflow_serving_shows_metrics_and_its_container_has_the_file(spec, binary):
    """Its binary reads the same file as the embedded server; the container reads it at the same path."""
    metrics = dataclasses.replace(spec, telemetry=Telemetry(SHOWN.monitoring_config))
    target = open_target("tensorflow_model_server")
    assert target.command(metrics).argv[-1] == f"--monitoring_config_file={SHOWN.monitoring_config}"
    binary.unlink()
    program(binary.parent / "docker", DAEMON)
    argv = target.command(metrics).argv
    assert argv[-1] == f"--monitoring_config_file={SHOWN.monitoring_config}"
    mount = f"--mount=type=bind,source={SHOWN.monitoring_config},target={SHOWN.monitoring_config},readonly"
    assert mount in argv[: argv.index(IMAGE)]


@pytest.mark.parametrize(
    ("target", "telemetry", "option"),
    [
        ("mlflow", Telemetry(SHOWN.monitoring_config), "--metrics"),
        ("mlflow", Telemetry(log_format="json"), "--log-format"),
        ("tensorflow_model_server", Telemetry(log_format="json"), "--log-format"),
        ("tensorflow_model_server", Telemetry(trace_endpoint="http://ada:secret@c"), "--trace-endpoint"),
    ],
)
def test_what_a_target_cannot_show_is_refused(target, telemetry, option, spec, binary):
    """Rather than served without it."""
    with pytest.raises(
        InputError, match=rf"^{option}: target {target} has none. Use --target embedded, or leave"
    ) as error:
        open_target(target).command(dataclasses.replace(spec, telemetry=telemetry))
    assert "secret" not in str(error.value)


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


def test_the_page_on_monitoring_shows_what_is_started_with_all_that_is_to_be_seen(spec):
    """docs/monitoring.md has the command by hand, whole: without --default_label it would not serve the champion."""
    page = (Path(__file__).parents[3] / "docs" / "monitoring.md").read_text()
    shown = re.search(r"^\$ slipway-model-server (.*)$", page, re.MULTILINE)[1]
    words = shlex.split(shown.replace("$PWD/serving_base", str(spec.base)).replace("$PWD/deploy", "/m"))
    defaults = ServeSpec("resnet50", spec.base, telemetry=SHOWN)
    assert tuple(words) == open_target("embedded").command(defaults).argv[3:]
