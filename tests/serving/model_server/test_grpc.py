"""The gRPC services, asked over real sockets with our own wire messages; a fake runtime answers."""

import grpc
import numpy as np
import pytest

from serving.model_server.grpc_api import GrpcApi
from serving.model_server.grpc_server import make_grpc_server
from serving.model_server.load_rules import LoadRules
from serving.model_server.models import Models
from serving.wire.classification_pb2 import ClassificationRequest, ClassificationResponse
from serving.wire.example_pb2 import Input
from serving.wire.get_model_metadata_pb2 import GetModelMetadataRequest, GetModelMetadataResponse, SignatureDefMap
from serving.wire.get_model_status_pb2 import GetModelStatusRequest, GetModelStatusResponse, ModelVersionStatus
from serving.wire.health_pb2 import HealthCheckRequest, HealthCheckResponse
from serving.wire.inference_pb2 import MultiInferenceRequest, MultiInferenceResponse
from serving.wire.model_management_pb2 import ReloadConfigRequest, ReloadConfigResponse
from serving.wire.predict_pb2 import PredictRequest, PredictResponse
from serving.wire.regression_pb2 import RegressionRequest, RegressionResponse
from serving.wire.tensor_pb2 import TensorProto
from serving.wire.tensors import shape_proto, to_numpy, to_proto
from slipway.errors import UnavailableError
from tests.serving.model_server.fakes import FakeLoads, eventually, put_version, settings, spec

PREDICTION, MODEL, HEALTH = (
    "tensorflow.serving.PredictionService",
    "tensorflow.serving.ModelService",
    "grpc.health.v1.Health",
)


class Client:
    def __init__(self, channel):
        self.channel = channel

    def call(self, method, request, response_type):
        stub = self.channel.unary_unary(
            f"/{method}", lambda message: message.SerializeToString(), response_type.FromString
        )
        return stub(request, timeout=20)

    def predict(self, model_spec, output_filter=(), **inputs):
        request = PredictRequest(model_spec=model_spec, output_filter=output_filter)
        for name, value in inputs.items():
            request.inputs[name].CopyFrom(value if isinstance(value, TensorProto) else to_proto(value))
        return self.call(f"{PREDICTION}/Predict", request, PredictResponse)

    def status(self, model_spec):
        request = GetModelStatusRequest(model_spec=model_spec)
        return self.call(f"{MODEL}/GetModelStatus", request, GetModelStatusResponse).model_version_status

    def health(self, service=""):
        return self.call(f"{HEALTH}/Check", HealthCheckRequest(service=service), HealthCheckResponse).status


@pytest.fixture
def models(tmp_path):
    for number in (1, 2):
        put_version(tmp_path / "m", number, number)
    models = Models(LoadRules(FakeLoads()))
    models.configure([settings(tmp_path / "m", specific=[1, 2], labels={"stable": 1})])
    eventually(lambda: models.served()[0].is_available(1) and models.served()[0].is_available(2))
    return models


@pytest.fixture
def client(models):
    server = make_grpc_server(GrpcApi(models), "127.0.0.1:0", 4)
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    with grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
        yield Client(channel)
    server.stop(None).wait()


X = np.array([1.0, 2.0], np.float32)


def refused(code, message):
    return pytest.raises(grpc.RpcError, check=lambda error: error.code() == code and message in error.details())


def test_predict_answers_with_the_version_and_signature_that_it_used(client):
    response = client.predict(spec(version=1), x=X)
    assert to_numpy(response.outputs["y"]).tolist() == [2.0, 3.0]
    assert response.model_spec.name == "m"
    assert response.model_spec.version.value == 1
    assert response.model_spec.signature_name == "serving_default"
    assert list(response.outputs["y"].float_val) == [2.0, 3.0]  # fields that any client reads


def test_tensor_content_and_typed_fields_are_the_same(client):
    typed, content = to_proto(X), to_proto(X, as_content=True)
    for tensor in (typed, content):
        assert to_numpy(client.predict(spec(label="stable"), x=tensor).outputs["y"]).tolist() == [2.0, 3.0]


def test_an_output_filter_chooses_outputs(client):
    model_spec = spec()
    model_spec.signature_name = "both"
    inputs = {"a": np.ones((1, 2), np.float32), "b": np.ones(1, np.int64)}
    assert set(client.predict(model_spec, **inputs).outputs) == {"sum", "twice"}
    assert set(client.predict(model_spec, ["twice"], **inputs).outputs) == {"twice"}
    with refused(grpc.StatusCode.INVALID_ARGUMENT, "output tensor alias not found in signature: z"):
        client.predict(model_spec, ["z"], **inputs)
    with refused(grpc.StatusCode.INVALID_ARGUMENT, "duplicate output tensor alias: sum"):
        client.predict(model_spec, ["sum", "sum"], **inputs)


def named(signature):
    model_spec = spec()
    model_spec.signature_name = signature
    return model_spec


def example_input(*sizes):
    """Examples of one feature with so many floats."""
    message = Input()
    for size in sizes:
        message.example_list.examples.add().features.feature["x"].float_list.value.extend([1.0] * size)
    return message


def test_examples_are_classified_regressed_or_both(client):
    sizes = [17.0, 25.0]  # bytes of an example with one float, and with three
    model_spec = named("sizes")
    model_spec.version.value = 1
    request = ClassificationRequest(model_spec=model_spec, input=example_input(1, 3))
    classified = client.call(f"{PREDICTION}/Classify", request, ClassificationResponse)
    assert classified.model_spec == model_spec
    classes = [[(item.label, item.score) for item in row.classes] for row in classified.result.classifications]
    assert classes == [[("bytes", size)] for size in sizes]

    request = RegressionRequest(model_spec=named("size"), input=example_input(1, 3))
    regressed = client.call(f"{PREDICTION}/Regress", request, RegressionResponse)
    assert [item.value for item in regressed.result.regressions] == sizes
    assert (regressed.model_spec.version.value, regressed.model_spec.signature_name) == (2, "size")

    request = MultiInferenceRequest(input=example_input(1, 3))
    request.tasks.add(model_spec=model_spec, method_name="tensorflow/serving/classify")
    request.tasks.add(model_spec=named("size"), method_name="tensorflow/serving/regress")
    one, other = client.call(f"{PREDICTION}/MultiInference", request, MultiInferenceResponse).results
    assert (one.classification_result, other.regression_result) == (classified.result, regressed.result)
    assert (one.model_spec, other.model_spec.version.value) == (model_spec, 1)


@pytest.mark.parametrize(
    ("method", "request_", "response_type"),
    [
        ("Classify", ClassificationRequest(input=example_input(1)), ClassificationResponse),
        ("Regress", RegressionRequest(input=example_input(1)), RegressionResponse),
    ],
)
def test_examples_without_a_model_are_refused(client, method, request_, response_type):
    with refused(grpc.StatusCode.INVALID_ARGUMENT, "Missing ModelSpec"):
        client.call(f"{PREDICTION}/{method}", request_, response_type)
    with refused(grpc.StatusCode.INVALID_ARGUMENT, "ModelSpec has no name specified."):
        client.call(f"{PREDICTION}/MultiInference", MultiInferenceRequest(), MultiInferenceResponse)


WRONG_SHAPE = to_proto(np.zeros((2, 2), np.float32))
BROKEN = TensorProto(dtype=1, tensor_shape=shape_proto([2]), tensor_content=b"1")


@pytest.mark.parametrize(
    ("model_spec", "inputs", "code", "message"),
    [
        (spec("no"), {"x": X}, "NOT_FOUND", "Servable not found for request: Latest(no)"),
        (spec(version=9), {"x": X}, "NOT_FOUND", "Servable not found for request: Specific(m, 9)"),
        (spec(label="no"), {"x": X}, "INVALID_ARGUMENT", "Unrecognized servable version label: no"),
        (None, {"x": X}, "INVALID_ARGUMENT", "Missing ModelSpec"),
        (spec(""), {"x": X}, "INVALID_ARGUMENT", "ModelSpec has no name specified."),
        (named("no"), {"x": X}, "FAILED_PRECONDITION", 'Serving signature key "no" not found.'),
        (
            spec(),
            {},
            "INVALID_ARGUMENT",
            "input size does not match signature: 0!=1 len({}) != len({x}). Sent extra: {}.",
        ),
        (
            spec(),
            {"z": X},
            "INVALID_ARGUMENT",
            "Signature input alias: x(feed name: x:0) not found in request and no default value provided.",
        ),
        (spec(), {"x": X.astype("f8")}, "INVALID_ARGUMENT", "Expects arg[0] to be float but double is provided"),
        (spec(), {"x": WRONG_SHAPE}, "INVALID_ARGUMENT", "which is not of expected shape: [?]"),
        (spec(), {"x": BROKEN}, "INVALID_ARGUMENT", "tensor parsing error: x"),
        (named("refuse"), {"x": X}, "INVALID_ARGUMENT", "the graph refuses this"),
        (named("crash"), {"x": X}, "INTERNAL", "RuntimeError: see the server's log."),
    ],
)
def test_mistakes_are_refused_with_tensorflow_servings_code_and_words(client, model_spec, inputs, code, message):
    with refused(grpc.StatusCode[code], message):
        client.predict(model_spec, **inputs)


def test_status_of_one_version_or_all(client):
    assert [(item.version, item.state) for item in client.status(spec())] == [
        (2, ModelVersionStatus.AVAILABLE),
        (1, ModelVersionStatus.AVAILABLE),
    ]
    assert [item.version for item in client.status(spec(label="stable"))] == [1]
    with refused(grpc.StatusCode.NOT_FOUND, "Could not find any versions of model no"):
        client.status(spec("no"))
    with refused(grpc.StatusCode.INVALID_ARGUMENT, "Missing ModelSpec"):
        client.status(None)


def test_metadata_is_the_signatures(client):
    def ask(**fields):
        request = GetModelMetadataRequest(model_spec=spec(version=1), **fields)
        return client.call(f"{PREDICTION}/GetModelMetadata", request, GetModelMetadataResponse)

    packed = ask(metadata_field=["signature_def"]).metadata["signature_def"]
    assert packed.type_url == "type.googleapis.com/tensorflow.serving.SignatureDefMap"
    signatures = SignatureDefMap.FromString(packed.value).signature_def
    assert signatures["both"].inputs["a"].name == "a:0"
    with refused(grpc.StatusCode.INVALID_ARGUMENT, "must specify at least one metadata_field"):
        ask()
    with refused(grpc.StatusCode.INVALID_ARGUMENT, "Metadata field other is not supported"):
        ask(metadata_field=["other"])


def reload(client, base, versions, **labels):
    request = ReloadConfigRequest()
    config = request.config.model_config_list.config.add(name="m", base_path=str(base), model_platform="tensorflow")
    config.model_version_policy.specific.versions.extend(versions)
    config.version_labels.update(labels)
    return client.call(f"{MODEL}/HandleReloadConfigRequest", request, ReloadConfigResponse)


def test_a_reload_replaces_the_whole_config(client, tmp_path):
    assert reload(client, tmp_path / "m", [2], stable=2).status.error_code == 0
    eventually(lambda: client.status(spec(version=1))[0].state == ModelVersionStatus.END)
    assert client.predict(spec(label="stable"), x=X).model_spec.version.value == 2


def test_a_reload_that_cannot_be_done_is_refused(client, tmp_path):
    with refused(grpc.StatusCode.FAILED_PRECONDITION, "which is not currently available for inference"):
        reload(client, tmp_path / "m", [1, 2], stable=7)
    with refused(grpc.StatusCode.INVALID_ARGUMENT, "expected an absolute path"):
        reload(client, "relative", [1])
    with refused(grpc.StatusCode.INVALID_ARGUMENT, "expected a config with a model_config_list"):
        client.call(f"{MODEL}/HandleReloadConfigRequest", ReloadConfigRequest(), ReloadConfigResponse)
    assert client.predict(spec(label="stable"), x=X).model_spec.version.value == 1


def test_health_follows_the_models(client, models):
    assert client.health() == HealthCheckResponse.SERVING
    assert client.health(PREDICTION) == HealthCheckResponse.SERVING
    with refused(grpc.StatusCode.NOT_FOUND, "is not served here"):
        client.health("other")
    models.configure([])
    assert client.health() == HealthCheckResponse.NOT_SERVING


def test_a_port_that_is_taken_is_an_error_and_not_shared(client):
    port = int(client.channel._channel.target().rpartition(b":")[2])
    with pytest.raises(UnavailableError, match=str(port)):
        make_grpc_server(GrpcApi(Models(LoadRules(FakeLoads()))), f"127.0.0.1:{port}", 1)
