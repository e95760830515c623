"""OpenVINO tells nobody that it was started, and a model of it is compiled for lone requests once it answers."""

import subprocess
import sys

import numpy as np
import pytest

from serving.model_server.runtimes import Refined, open_runtime
from slipway.errors import IntegrityError
from tests.serving.model_server.heavy_model import write_model

STARTED = """
import sys
events = []
sys.addaudithook(lambda event, _: events.append(event))
from slipway.openvino_start import start_openvino
openvino = start_openvino()
assert openvino is start_openvino()
core = openvino.Core()
forked = [event for event in events if event in {"os.fork", "os.posix_spawn", "subprocess.Popen", "socket.connect"}]
imported = [name for name in sys.modules if name.startswith(("openvino_telemetry", "openvino.tools.ovc"))]
print(forked, [name for name in imported if sys.modules[name] is not None])
from openvino.tools.ovc import convert_model
print(convert_model.__name__)
"""


def test_openvino_is_started_without_a_word_to_its_maker_and_can_still_convert(tmp_path):
    told = subprocess.run(
        [sys.executable, "-c", STARTED],
        env={"HOME": str(tmp_path), "PATH": ""},
        capture_output=True,
        text=True,
        check=True,
    )
    assert told.stdout.splitlines() == ["[] []", "convert_model"]
    assert list(tmp_path.iterdir()) == []


@pytest.fixture
def runtime(tmp_path):
    write_model(tmp_path / "model", layers=2)
    runtime = open_runtime("openvino")(tmp_path / "model")
    yield runtime
    runtime.close()


def ask(runtime):
    x = np.linspace(-1, 1, 32, dtype=np.float32).reshape(2, 16)
    return runtime.run("serving_default", {"x": x}, ["y"])["y"]


def test_a_refined_model_answers_the_same(runtime):
    at_first = ask(runtime)
    assert isinstance(runtime, Refined)
    runtime.refine(lambda form: np.testing.assert_allclose(ask(form), at_first, atol=1e-6))
    np.testing.assert_allclose(ask(runtime), at_first, atol=1e-6)


def test_a_form_that_does_not_pass_is_not_answered_by(runtime):
    at_first = ask(runtime)
    seen = []

    def refuse(form):
        seen.append(form)
        raise IntegrityError("other answers")

    with pytest.raises(IntegrityError, match="other answers"):
        runtime.refine(refuse)
    seen[0].close()  # whoever were to be answered by it would fail
    assert np.array_equal(ask(runtime), at_first)
