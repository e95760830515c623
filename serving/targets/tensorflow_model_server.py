"""The real TensorFlow Serving: the binary on PATH, else its container through docker."""

import os
import shutil
import subprocess
from pathlib import Path

from serving.targets import Addresses, Command, ServeSpec, tensorflow_serving
from slipway.errors import InputError

BINARY = "tensorflow_model_server"
IMAGE = "tensorflow/serving:2.20.0"
_GRPC_PORT, _REST_PORT = 8500, 8501  # inside the container
_DOCKER_TIMEOUT_S = 15.0


class TensorFlowModelServer:
    """Serves the champion of `<base>/models.config`, and follows that file while it runs.

    The binary listens on every interface, whatever `spec.host` says: it has no flag for that. The container's ports are
    published on `spec.host` alone.
    """

    def command(self, spec: ServeSpec) -> Command:
        """See Target."""
        config = tensorflow_serving.config_file(spec, "models.config")
        telemetry = spec.telemetry.flags(BINARY, "monitoring_config_file")
        binary = shutil.which(BINARY)
        if binary:
            return Command((binary, *_flags(config, spec.grpc_port, spec.rest_port), *telemetry, *spec.extra_args))
        docker = shutil.which("docker")
        problem = _docker_problem(docker) if docker else "there is no docker either"
        if docker is None or problem:
            raise InputError(
                f"{BINARY} is not on PATH, and {problem}; expected one of them. Install it (`apt-get install "
                "tensorflow-model-server`, from TensorFlow Serving's own apt repository), or start docker and "
                f"`docker pull {IMAGE}`, or use `--target embedded`."
            )
        return Command(_in_container(docker, spec, config, telemetry))

    def addresses(self, spec: ServeSpec) -> Addresses:
        """See Target."""
        return tensorflow_serving.addresses(spec)

    def state(self, spec: ServeSpec) -> tuple[bool, str]:
        """See Target."""
        return tensorflow_serving.state(spec)


def _flags(config: Path, grpc_port: int, rest_port: int) -> tuple[str, ...]:
    return (
        f"--port={grpc_port}",
        f"--rest_api_port={rest_port}",
        f"--model_config_file={config}",
        "--model_config_file_poll_wait_seconds=1",
    )


def _in_container(docker: str, spec: ServeSpec, config: Path, telemetry: tuple[str, ...]) -> tuple[str, ...]:
    base, monitoring = config.parent, spec.telemetry.monitoring_config
    return (
        docker,
        "run",
        "--rm",
        "--init",  # or the server is process 1, and SIGTERM does not reach it
        f"--name=slipway-{spec.name}-{spec.rest_port}",
        f"--publish={spec.host}:{spec.grpc_port}:{_GRPC_PORT}",
        f"--publish={spec.host}:{spec.rest_port}:{_REST_PORT}",
        # models.config names absolute paths of this machine: the base stands at the same path inside.
        f"--mount=type=bind,source={base},target={base},readonly",
        *([f"--mount=type=bind,source={monitoring},target={monitoring},readonly"] if monitoring else []),
        f"--entrypoint={BINARY}",
        IMAGE,
        *_flags(config, _GRPC_PORT, _REST_PORT),
        *telemetry,
        *spec.extra_args,
    )


def _docker_problem(docker: str) -> str:
    """Why docker cannot start a container, or ""."""
    try:
        answer = subprocess.run(
            [docker, "version", "--format", "{{.Server.Version}}"],
            capture_output=True,
            text=True,
            timeout=_DOCKER_TIMEOUT_S,
            check=False,
            env=os.environ,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        return f"docker does not answer ({error})"
    if answer.returncode == 0:
        return ""
    reason = next(iter(answer.stderr.strip().splitlines()), f"exit code {answer.returncode}")
    return f"docker has no daemon ({reason.rstrip('?.')})"
