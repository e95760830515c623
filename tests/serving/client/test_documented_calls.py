"""docs/call-it.md: every program and every call in it runs, against the embedded server."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from pipeline.data.digits import write_digits
from serving.targets import ServeSpec, open_target
from serving.targets.process import start
from tests.serving.targets.conftest import free_port

pytestmark = pytest.mark.integration

ROOT = Path(__file__).parents[3]
PAGE, _, MLFLOW_PAGE = (ROOT / "docs" / "call-it.md").read_text().partition("## MLflow's scoring server")
PROGRAMS = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
COMMANDS = [line for line in re.findall(r"^\$ (.*)$", PAGE, re.MULTILINE) if line != "slipway serve"]
CONFIG = """model_config_list {{ config {{ name: "resnet50" base_path: "{base}/resnet50" model_platform: "tensorflow"
  model_version_policy {{ specific {{ versions: 4 }} }} version_labels {{ key: "stable" value: 4 }} }} }}"""


@pytest.fixture(scope="module")
def served(tmp_path_factory):
    """A folder with the digits, and an untrained network of ten classes, 32 x 32, served as resnet50 version 4."""
    import keras

    from serving.servable.graph import write_saved_model

    folder = tmp_path_factory.mktemp("calls")
    write_digits(folder / ".slipway")
    layers = [keras.Input((32, 32, 3)), keras.layers.Flatten(), keras.layers.Dense(10, "softmax")]
    base = folder / "serving_base"
    write_saved_model(keras.Sequential(layers), [str(digit) for digit in range(10)], base / "resnet50" / "4")
    (base / "labels.config").write_text(CONFIG.format(base=base))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", str(ROOT))
        spec = ServeSpec("resnet50", base, free_port(), free_port())
        with start(open_target("embedded"), spec, log=folder / "log", ready_timeout_s=180):
            yield folder, spec


def run(served, command: list[str], text: str) -> str:
    folder, spec = served
    text = text.replace("8501", str(spec.rest_port)).replace("8500", str(spec.grpc_port))
    text = text.replace("slipway predict", f"{sys.executable} -m pipeline predict")
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [*command, text], cwd=folder, env=environment, capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.parametrize("program", PROGRAMS, ids=range(len(PROGRAMS)))
def test_every_program_runs_and_prints_an_answer(served, program):
    """As it stands on the page, but for the ports."""
    assert re.search(r"\d", run(served, [sys.executable, "-c"], program))


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_runs_and_prints_an_answer(served, command):
    """As it stands on the page, but for the ports; no error in an answer."""
    output = run(served, ["bash", "-o", "pipefail", "-c"], command)
    assert re.search(r'"label"|AVAILABLE|probability', output)
    assert '"error"' not in output


def test_the_page_has_programs_and_commands():
    """The patterns above find what they are for."""
    assert len(PROGRAMS) == 4
    assert len(COMMANDS) == 4
    assert "dataframe_records" in MLFLOW_PAGE
