"""MLproject and conda.yaml, made of the command line and the locked requirements: `python -m pipeline.mlproject`.

MLflow passes every parameter on every run, so each is empty by default, which the command line takes as "not given".
"""

import re
from pathlib import Path

import click

from pipeline.cli import main

ROOT = Path(__file__).parent.parent
REQUIREMENTS = ROOT / "requirements" / "pipeline.txt"
KUBERNETES = ROOT / "deploy" / "mlflow-run" / "MLproject"
TRAINING_IMAGE = "slipway-training"
_NOTE = "# Written by `python -m pipeline.mlproject`, and held to it by a test."
_PIN = re.compile(r"^([A-Za-z0-9._-]+(?:\[[^\]]+\])?==[^\s;\\]+)\s*(;[^\\]+)?", re.MULTILINE)


def entry_points() -> dict[str, click.Command]:
    """The commands that are steps. Groups, such as `keys`, are what a person does beside them: no run records that."""
    return {name: command for name, command in main.commands.items() if not isinstance(command, click.Group)}


def mlproject() -> str:
    """The MLproject file: an entry point a step, with the command's options as its parameters."""
    return _project(["conda_env: conda.yaml"], "python -m pipeline")


def kubernetes_mlproject() -> str:
    """The same for MLflow's Kubernetes backend, which takes no project with a conda_env, and quotes what it passes."""
    return _project(["docker_env:", f"  image: {TRAINING_IMAGE}"], "python -m pipeline.unquoted")


def _project(environment: list[str], program: str) -> str:
    lines = [_NOTE, "name: slipway", "", *environment, "", "entry_points:"]
    for name, command in entry_points().items():
        parameters = [parameter for parameter in command.params if parameter.name != "help"]
        lines += [f"  {name}:", "    parameters:"]
        lines += [f"      {parameter.name}: {{type: string, default: ''}}" for parameter in parameters]
        lines += [f"    command: >-\n      {program} {name}"]
        lines += [f"      {_argument(parameter)}" for parameter in parameters]
    return "\n".join(lines) + "\n"


def conda_yaml() -> str:
    """conda.yaml: Python, pip, and every pin of requirements/pipeline.txt."""
    pins = [pin + (f" {marker.strip()}" if marker else "") for pin, marker in _PIN.findall(REQUIREMENTS.read_text())]
    head = [_NOTE, "name: slipway", "channels:", "  - conda-forge", "dependencies:", "  - python=3.11", "  - pip"]
    return "\n".join([*head, "  - pip:", *(f'      - "{pin}"' for pin in pins)]) + "\n"


def _argument(parameter: click.Parameter) -> str:
    value = f"{{{parameter.name}}}"
    return value if isinstance(parameter, click.Argument) else f"{parameter.opts[0]} {value}"


def write() -> None:
    """Write conda.yaml and MLproject at the project's root, and the project for Kubernetes."""
    KUBERNETES.write_text(kubernetes_mlproject(), encoding="utf-8")
    (ROOT / "MLproject").write_text(mlproject(), encoding="utf-8")
    (ROOT / "conda.yaml").write_text(conda_yaml(), encoding="utf-8")


if __name__ == "__main__":
    write()
