"""`:explain` in KServe's V1 form, asked over real sockets; a fake runtime explains."""

import base64

import numpy as np
import pytest

from serving.model_server.answered import Answered
from serving.model_server.choosing import Chooser
from serving.model_server.load_rules import LoadRules
from serving.model_server.loading import checked_loader
from serving.model_server.models import Models
from serving.model_server.observer import Observer
from serving.model_server.runtimes import Loaded, Variant
from serving.model_server.shadows import Shadows
from tests.serving.model_server.fakes import FakeRuntime, eventually, put_version, settings, signature
from tests.serving.model_server.servables import publish_servable
from tests.serving.model_server.test_rest import rest_server

MAPS = np.array([[[0.0, 0.25], [0.5, 1.0]], [[1.0, 0.0], [0.1, 0.0]]], np.float32)
OUTPUT = np.array([[0.25, 0.75], [0.9, 0.1]], np.float32)


class Explainer(FakeRuntime):
    """Explains up to two images, the first by MAPS[0], whatever they show."""

    def __init__(self):
        super().__init__(0)
        outputs = {
            "heat_map": ("float", [-1, 2, 2]),
            "output": ("float", [-1, 2]),
            "class_id": ("int64", [-1]),
            "label": ("string", [-1]),
        }
        self.signatures = {**self.signatures, "serving_explain": signature({"image_bytes": ("string", [-1])}, outputs)}

    def run(self, name, inputs, outputs):
        if name != "serving_explain":
            return super().run(name, inputs, outputs)
        count = len(inputs["image_bytes"])
        labels = np.array([b"bee", b"ant"], object)
        found = {"heat_map": MAPS, "output": OUTPUT, "class_id": np.array([1, 0]), "label": labels}
        return {output: found[output][:count] for output in outputs}


def model_of(base, load, **more):
    models = Models(LoadRules(load), **more)
    models.configure([settings(base, latest=2, labels={"stable": 1})])
    eventually(models.ready)
    return models


@pytest.fixture
def base(tmp_path):
    put_version(tmp_path / "m", 1, 1)
    return tmp_path / "m"


@pytest.fixture
def client(base):
    with rest_server(model_of(base, lambda _path: Loaded(Explainer(), Variant("tensorflow-fp32")))) as client:
        yield client


def instances(count):
    return {"instances": [{"image_bytes": {"b64": base64.b64encode(b"image").decode()}} for _ in range(count)]}


@pytest.mark.parametrize("where", ["", "/versions/1", "/labels/stable"])
def test_each_image_has_its_heat_map_probabilities_class_and_label(client, where):
    status, answer = client.post(f"/v1/models/m{where}:explain", instances(2))
    expected = [
        {"heat_map": MAPS[0].tolist(), "output": OUTPUT[0].tolist(), "class_id": 1, "label": "bee"},
        {"heat_map": [[1.0, 0.0], [0.1, 0.0]], "output": [0.9, 0.1], "class_id": 0, "label": "ant"},
    ]
    assert (status, answer) == (200, {"explanations": expected})
    assert client.headers["x-slipway-version"] == "1"


def test_a_body_that_is_no_request_for_explanations_is_refused(client):
    path = "/v1/models/m:explain"
    assert client.post(path, b"{")[0] == 400
    status, answer = client.post(path, {"inputs": {"image_bytes": [{"b64": "YQ=="}]}})
    assert (status, answer["error"]) == (400, "Missing 'instances' key")
    status, answer = client.post(path, {"instances": [{"pixels": 1}]})
    assert status == 400
    assert "does not have named input: pixels" in answer["error"]
    status, answer = client.post(path, {"signature_name": "text", "instances": ["a"]})
    assert status == 400
    assert "leave signature_name out" in answer["error"]
    assert client.post("/v1/models/unknown:explain", instances(1))[0] == 404


def test_a_version_that_was_built_before_there_were_explanations_is_answered_501(base):
    models = model_of(base, lambda _path: Loaded(FakeRuntime(1), Variant("tensorflow-fp32")))
    with rest_server(models) as client:
        status, answer = client.post("/v1/models/m:explain", instances(1))
    assert status == 501
    assert "slipway register" in answer["error"]


def test_a_variant_that_is_not_tensorflows_is_answered_501_with_the_flag_that_serves_it(tmp_path):
    base = publish_servable(tmp_path / "m", 1, {"onnx-fp32": 9.0}).parent
    with rest_server(model_of(base, checked_loader(Chooser(variant="onnx-fp32")))) as client:
        status, answer = client.post("/v1/models/m:explain", instances(1))
    assert status == 501
    assert "onnx-fp32 answers here. Start the server with --runtime=tensorflow" in answer["error"]
    assert "pip install 'slipway[serving,tensorflow]'" in answer["error"]


def test_where_tensorflow_is_not_installed_501_names_the_line_that_installs_it(base, monkeypatch):
    monkeypatch.setattr("serving.model_server.explain.find_spec", lambda _name: None)
    models = model_of(base, lambda _path: Loaded(FakeRuntime(1), Variant("onnx-fp32")))
    with rest_server(models) as client:
        status, answer = client.post("/v1/models/m:explain", instances(1))
    assert status == 501
    assert "not installed" in answer["error"]
    assert "Run: pip install 'slipway[serving,tensorflow]'" in answer["error"]


def test_explanations_are_no_observations_of_a_version_that_a_rollout_compares(base):
    observer = Observer(Answered(), Shadows(Answered()))
    models = model_of(base, lambda _path: Loaded(Explainer(), Variant("tensorflow-fp32")), on_left=observer.left)
    with rest_server(models) as client:
        assert client.post("/v1/models/m:explain", instances(1))[0] == 200
        assert client.get("/v1/models/m/observations")[1]["versions"][0]["requests"] == 0
        assert client.post("/v1/models/m:predict", {"instances": [1.0]})[0] == 200
        assert client.get("/v1/models/m/observations")[1]["versions"][0]["requests"] == 1
