"""Every answer to a prediction says who gave it, over REST and gRPC, errors included."""

import json

import grpc
import pytest

from serving.request_ids import parse_request_id
from serving.wire.classification_pb2 import ClassificationRequest
from serving.wire.inference_pb2 import MultiInferenceRequest
from serving.wire.predict_pb2 import PredictRequest
from serving.wire.regression_pb2 import RegressionRequest
from tests.serving.model_server.split_world import FAILS, REFUSED, two_versions

HEADERS = {f"x-slipway-{name}" for name in ("model", "version", "variant", "digest", "request-id")}


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    with two_versions(tmp_path_factory.mktemp("ids")) as world:
        yield world


def identity(headers):
    """What an answer says of itself; the id must say the same."""
    said = {name: headers[name] for name in HEADERS}
    found = parse_request_id(said["x-slipway-request-id"])
    assert str(found.version) == said["x-slipway-version"]
    assert found.digest_prefix == said["x-slipway-digest"][:12]
    return said["x-slipway-model"], found.version, said["x-slipway-variant"], said["x-slipway-digest"]


def nobody():
    return "none", 0, "none", "none"


def by(world, version):
    return "m", version, "tiny", world.digests[version]


EXAMPLES = json.dumps({"signature_name": "sizes", "examples": [{}]})


def test_each_kind_of_call_over_rest_says_its_version_digest_and_id(world):
    examples = EXAMPLES, EXAMPLES.replace("sizes", "size")
    for where, version in (("", 1), ("/labels/canary", 2), ("/versions/1", 1)):
        assert identity(world.ask(1.0, where=where)[1]) == by(world, version)
        for method, body in zip(("classify", "regress"), examples, strict=True):
            status, headers, _ = world.ask(where=where, method=method, body=body)
            assert (status, identity(headers)) == (200, by(world, version))


def test_each_kind_of_call_over_grpc_says_its_version_digest_and_id(world):
    assert identity(world.call(1.0)[1]) == by(world, 1)
    assert identity(world.call(1.0, label="canary")[1]) == by(world, 2)
    for method, request, signature in (
        ("Classify", ClassificationRequest(), "sizes"),
        ("Regress", RegressionRequest(), "size"),
        ("MultiInference", MultiInferenceRequest(), "size"),
    ):
        request.input.example_list.examples.add()
        if method == "MultiInference":
            task = request.tasks.add(method_name="tensorflow/serving/regress")
            task.model_spec.name, task.model_spec.signature_name = "m", signature
        else:
            request.model_spec.name, request.model_spec.signature_name = "m", signature
        code, metadata = world.call(request=request, method=method)
        assert (code, identity(metadata)) == (grpc.StatusCode.OK, by(world, 1))


@pytest.mark.parametrize(
    ("ask", "status"),
    [
        (lambda world: world.ask(1.0, where="/versions/9"), 404),
        (lambda world: world.ask(1.0, where="/labels/beta"), 400),
        (lambda world: world.ask(body="{"), 400),
        (lambda world: world.ask(body="1" * 100_001), 413),
    ],
)
def test_an_error_over_rest_that_no_version_gave_says_version_0_and_none(world, ask, status):
    found, headers, _ = ask(world)
    assert (found, identity(headers)) == (status, nobody())


def test_an_error_over_grpc_that_no_version_gave_says_version_0_and_none(world):
    unknown = PredictRequest()
    unknown.model_spec.name = "unknown"
    for request, code in ((unknown, grpc.StatusCode.NOT_FOUND), (PredictRequest(), grpc.StatusCode.INVALID_ARGUMENT)):
        found, metadata = world.call(request=request)
        assert (found, identity(metadata)) == (code, nobody())


@pytest.mark.parametrize(("x", "status", "code"), [(FAILS, 500, "INTERNAL"), (REFUSED, 400, "INVALID_ARGUMENT")])
def test_an_error_that_a_version_gave_names_that_version(world, x, status, code):
    found, headers, _ = world.ask(x, where="/labels/canary")
    assert (found, identity(headers)) == (status, by(world, 2))
    found, metadata = world.call(x, label="canary")
    assert (found.name, identity(metadata)) == (code, by(world, 2))


def test_a_request_refused_for_overload_carries_an_id_too(world, monkeypatch):
    monkeypatch.setattr(type(world.admission), "limit", 0)
    monkeypatch.setattr(world.admission, "_longest_wait_s", 1.0)
    found, headers, _ = world.ask(1.0)
    assert (found, identity(headers)) == (429, nobody())
    code, metadata = world.call(1.0)
    assert (code, identity(metadata)) == (grpc.StatusCode.RESOURCE_EXHAUSTED, nobody())


def test_every_id_is_another_one(world):
    with world.client() as client:
        rest = [client.ask(1.0)[1]["x-slipway-request-id"] for _ in range(50)]
    over_grpc = [world.call(1.0)[1]["x-slipway-request-id"] for _ in range(50)]
    assert len({*rest, *over_grpc}) == 100


def test_a_version_without_a_manifest_has_no_digest(tmp_path):
    with two_versions(tmp_path) as world:
        world.put(3, sealed=False)
        world.label(stable=3)
        assert identity(world.ask(1.0)[1]) == ("m", 3, "tiny", "none")


def test_answers_that_are_no_predictions_are_as_they_were(world):
    with world.client() as client:
        for path in ("/v1/models/m", "/v1/models/m/metadata", "/v1/models", "/healthz"):
            assert client.request("GET", path)[0] == 200
            assert not HEADERS & client.headers.keys()
