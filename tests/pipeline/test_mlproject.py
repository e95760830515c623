"""MLproject and conda.yaml are what the command line and the locked requirements make of them."""

import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from rattler import MatchSpec

from pipeline.cli import main
from pipeline.mlproject import conda_yaml, entry_points, mlproject

ROOT = Path(__file__).parents[2]
STEPS = (
    "main train evaluate optimize register gate promote export serve rollback predict status history".split()  # noqa: SIM905
)


def test_mlproject_is_what_the_command_line_makes():
    assert (ROOT / "MLproject").read_text(encoding="utf-8") == mlproject(), "run `make generate`"


def test_conda_yaml_is_what_the_locked_requirements_make():
    assert (ROOT / "conda.yaml").read_text(encoding="utf-8") == conda_yaml(), "run `make generate`"


def test_every_step_is_an_entry_point_and_a_command():
    from mlflow.projects.utils import load_project

    project = load_project(str(ROOT))
    assert set(STEPS) <= set(main.commands)
    assert set(project._entry_points) == set(entry_points()) >= set(STEPS)
    for name in entry_points():
        assert project.get_entry_point(name).name == name


def test_an_entry_point_passes_each_parameter_to_the_option_of_its_name():
    from mlflow.projects.utils import load_project

    project = load_project(str(ROOT))
    for name, command in entry_points().items():
        entry = project.get_entry_point(name)
        options = {parameter.name for parameter in command.params}
        assert set(entry.parameters) == options
        line = entry.compute_command({}, None)
        for parameter in command.params:
            if parameter.param_type_name == "option":
                assert f"{parameter.opts[0]} ''" in line  # empty: the same default as a command without the option
                assert parameter.default is None or repr(parameter.default) == "Sentinel.UNSET"


def test_a_value_given_to_mlflow_reaches_the_command_line():
    from mlflow.projects.utils import load_project

    line = load_project(str(ROOT)).get_entry_point("train").compute_command({"epochs": "3", "data": "my images"}, None)
    assert "--epochs 3" in line
    assert "--data 'my images'" in line


def test_every_line_of_conda_yaml_is_valid():
    document = yaml.safe_load((ROOT / "conda.yaml").read_text(encoding="utf-8"))
    assert document["channels"] == ["conda-forge"]
    conda_lines = [line for line in document["dependencies"] if isinstance(line, str)]
    for line in conda_lines:
        MatchSpec(line, strict=True)
    from packaging.requirements import Requirement

    pins = document["dependencies"][-1]["pip"]
    for pin in pins:
        assert re.search(r"==", str(Requirement(pin)))
    assert {"mlflow==3.17.2", "tensorflow-cpu==2.21.0"} <= {pin.split(" ;")[0] for pin in pins}


@pytest.mark.parametrize("module", ["pipeline", "serving.model_server"])
def test_help_returns_at_once_and_imports_nothing_heavy(module):
    heavy = "{'tensorflow', 'mlflow', 'pandas', 'sklearn', 'matplotlib', 'sqlalchemy', 'grpc', 'uvicorn', 'starlette'}"
    code = (
        f"import runpy, sys\nsys.argv = ['x', '--help']\n"
        f"try:\n    runpy.run_module({module!r}, run_name='__main__')\n"
        f"except SystemExit as end:\n    assert not end.code, end.code\n"
        f"found = {heavy} & set(sys.modules)\nassert not found, found\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, cwd=ROOT)
    assert done.returncode == 0, done.stderr
    assert "usage" in done.stdout.lower()
