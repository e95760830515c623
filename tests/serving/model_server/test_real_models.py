"""The server as a process with real SavedModels, asked by tensorflow-serving-api's own stubs and over REST."""

import http.client
import itertools
import json
import shutil
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import grpc
import numpy as np
import pytest

from slipway.files import write_atomically
from tests.serving.model_server.processes import model_server

pytestmark = [pytest.mark.integration, pytest.mark.timeout(400)]


@pytest.fixture(scope="module")
def tf():
    return pytest.importorskip("tensorflow")


@pytest.fixture(scope="module")
def versions(tf, tmp_path_factory):
    """Version directories to copy from: linear-1, linear-2, several, old."""
    from tests.serving.model_server.saved_models import save_linear, save_several, save_tensorflow_1

    root = tmp_path_factory.mktemp("versions")
    for number in (1, 2):
        save_linear(root / f"linear-{number}", offset=number)
    save_several(root / "several")
    save_tensorflow_1(root / "old")
    return root


def publish(source, base, number):
    """Put a version there whole, as a store does."""
    staged = base.parent / f".staged-{base.name}-{number}"
    shutil.copytree(source, staged)
    base.mkdir(exist_ok=True)
    return staged.rename(base / str(number))


def entry(base, numbers=(), labels=None):
    policy = (
        f"model_version_policy {{ specific {{ {' '.join(f'versions: {n}' for n in numbers)} }} }}" if numbers else ""
    )
    labels = " ".join(f'version_labels {{ key: "{key}" value: {value} }}' for key, value in (labels or {}).items())
    return f'config {{ name: "{base.name}" base_path: "{base}" model_platform: "tensorflow" {policy} {labels} }}'


def write_config(path, *entries):
    write_atomically(path, f"model_config_list {{ {' '.join(entries)} }}".encode())


@pytest.fixture(scope="module")
def server(versions, tmp_path_factory):
    """Three models in one server."""
    root = tmp_path_factory.mktemp("served")
    for source, name, number in (("linear-1", "linear", 7), ("several", "several", 1), ("old", "old", 1)):
        publish(versions / source, root / name, number)
    write_config(root / "models.config", *(entry(root / name) for name in ("linear", "several", "old")))
    with model_server(root / "log", f"--model_config_file={root / 'models.config'}") as server:
        server.wait_ready()
        yield server


@pytest.fixture(scope="module")
def channel(server):
    options = [("grpc.max_receive_message_length", -1), ("grpc.max_send_message_length", -1)]
    with grpc.insecure_channel(server.address, options) as channel:
        yield channel


def ask(tf, channel, model, signature, inputs):
    """Predict through tensorflow-serving-api's stub; outputs as numpy."""
    from tensorflow_serving.apis.predict_pb2 import PredictRequest
    from tensorflow_serving.apis.prediction_service_pb2_grpc import PredictionServiceStub

    request = PredictRequest()
    request.model_spec.name, request.model_spec.signature_name = model, signature
    for name, value in inputs.items():
        request.inputs[name].CopyFrom(tf.make_tensor_proto(value))
    response = PredictionServiceStub(channel).Predict(request, timeout=60)
    return response, {name: tf.make_ndarray(tensor) for name, tensor in response.outputs.items()}


CASES = {
    "two-dimensional": ("linear-1", "linear", "serving_default", {"x": np.array([[1.0], [-3.0]], np.float32)}),
    "several inputs": (
        "several",
        "several",
        "combine",
        {"a": np.array([[1, 2], [3, 4]], np.float32), "b": np.array([5, 6], np.int64)},
    ),
    "strings": ("several", "several", "shout", {"text": np.array([b"ab", b"c\xc3\xa9"], object)}),
    "TensorFlow 1": ("old", "old", "serving_default", {"x": np.array([1.0, 2.5], np.float32)}),
}


@pytest.mark.parametrize("case", CASES)
def test_grpc_and_rest_give_what_the_savedmodel_gives_in_process(tf, versions, server, channel, case):
    source, model, signature, inputs = CASES[case]
    loaded = tf.saved_model.load(str(versions / source))
    expected = loaded.signatures[signature](**{name: tf.constant(value) for name, value in inputs.items()})
    _, answered = ask(tf, channel, model, signature, inputs)
    columns = {
        name: [text.decode() for text in value] if value.dtype == object else value.tolist()
        for name, value in inputs.items()
    }
    status, rest = server.request(
        "POST", f"/v1/models/{model}:predict", {"signature_name": signature, "inputs": columns}
    )
    assert status == 200
    outputs = rest["outputs"] if len(expected) > 1 else {next(iter(expected)): rest["outputs"]}
    assert answered.keys() == outputs.keys() == expected.keys()
    for name, tensor in expected.items():
        if tensor.dtype == tf.string:
            assert answered[name].tolist() == tensor.numpy().tolist()
            if not name.endswith("_bytes"):
                assert outputs[name] == [text.decode() for text in tensor.numpy()]
        else:
            np.testing.assert_array_equal(answered[name], tensor.numpy())
            np.testing.assert_allclose(outputs[name], tensor.numpy(), atol=1e-6)


def test_bfloat16_and_half_pass_over_grpc(tf, channel):
    x = np.array([1.5, 2.0]).astype(tf.bfloat16.as_numpy_dtype)
    _, answered = ask(tf, channel, "several", "narrow", {"x": x})
    assert answered["half"].dtype == np.float16
    assert answered["half"].tolist() == [1.5, 2.0]
    assert answered["same"].dtype == x.dtype
    assert answered["same"].astype(np.float32).tolist() == [3.0, 4.0]


def test_the_documented_half_plus_two_request_may_leave_out_the_dimension_of_one(server):
    assert server.predict("linear", [1.0, 2.0, 5.0]) == (200, {"predictions": [1.5, 2.0, 3.5]})


def test_version_and_signature_are_echoed(tf, channel):
    response, _ = ask(tf, channel, "linear", "", {"x": np.ones((1, 1), np.float32)})
    assert (response.model_spec.version.value, response.model_spec.signature_name) == (7, "serving_default")


def test_what_the_graph_refuses_is_the_clients_mistake_in_one_line(tf, server, channel):
    status, answer = server.predict("several", [{"b64": "AAAA"}], signature="sizes")
    assert status == 400
    assert "Unknown image file format" in answer["error"]
    assert "\n" not in answer["error"]
    with pytest.raises(grpc.RpcError) as refusal:
        ask(tf, channel, "several", "sizes", {"image_bytes": np.array([b"\0\0\0"], object)})
    assert refusal.value.code() == grpc.StatusCode.INVALID_ARGUMENT
    assert refusal.value.details() == answer["error"]


def test_metadata_and_status_are_what_the_stubs_expect(versions, channel):
    from tensorflow.core.protobuf.saved_model_pb2 import SavedModel
    from tensorflow_serving.apis.get_model_metadata_pb2 import GetModelMetadataRequest, SignatureDefMap
    from tensorflow_serving.apis.get_model_status_pb2 import GetModelStatusRequest, ModelVersionStatus
    from tensorflow_serving.apis.model_service_pb2_grpc import ModelServiceStub
    from tensorflow_serving.apis.prediction_service_pb2_grpc import PredictionServiceStub

    request = GetModelMetadataRequest(metadata_field=["signature_def"])
    request.model_spec.name = "several"
    packed = PredictionServiceStub(channel).GetModelMetadata(request, timeout=60).metadata["signature_def"]
    signatures = SignatureDefMap()
    assert packed.Unpack(signatures)
    graph = SavedModel.FromString((versions / "several" / "saved_model.pb").read_bytes()).meta_graphs[0]
    assert dict(signatures.signature_def) == dict(graph.signature_def)

    status_request = GetModelStatusRequest()
    status_request.model_spec.name = "linear"
    (status,) = ModelServiceStub(channel).GetModelStatus(status_request, timeout=60).model_version_status
    assert (status.version, status.state, status.status.error_code) == (7, ModelVersionStatus.AVAILABLE, 0)


class Loop:
    """Asks without naming a version, again and again, over REST and gRPC, and keeps every answer."""

    def __init__(self, tf, server, model):
        self.answers = {"rest": [], "grpc": []}
        self.failures = []
        self._stop = threading.Event()
        loops = (lambda: self._rest(server, model), lambda: self._grpc(tf, server, model))
        self._threads = [threading.Thread(target=loop) for loop in loops]

    def __enter__(self):
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_):
        self._stop.set()
        for thread in self._threads:
            thread.join()

    def _rest(self, server, model):
        connection = http.client.HTTPConnection("127.0.0.1", server.rest_port, timeout=30)
        while not self._stop.is_set():
            connection.request("POST", f"/v1/models/{model}:predict", json.dumps({"instances": [0.0]}))
            response = connection.getresponse()
            document = json.loads(response.read())
            if response.status != 200:
                self.failures.append(document)
                return
            self.answers["rest"].append(document["predictions"][0])
            time.sleep(0.002)

    def _grpc(self, tf, server, model):
        with grpc.insecure_channel(server.address) as channel:
            while not self._stop.is_set():
                try:
                    _, outputs = ask(tf, channel, model, "", {"x": np.zeros((1, 1), np.float32)})
                except grpc.RpcError as error:
                    self.failures.append(error)
                    return
                self.answers["grpc"].append(float(outputs["y"][0, 0]))
                time.sleep(0.002)

    def wait_for(self, answer):
        end = time.monotonic() + 60
        while not all(answers and answers[-1] == answer for answers in self.answers.values()):
            assert not self.failures
            assert time.monotonic() < end
            time.sleep(0.01)


def changes(answers):
    return [answers[0], *(after for before, after in itertools.pairwise(answers) if before != after)]


@pytest.mark.parametrize("labels", [True, False], ids=["labels.config", "plain specific config"])
def test_promotion_and_rollback_under_load_lose_no_request_and_switch_once(tf, versions, tmp_path, labels):
    base, config = tmp_path / "m", tmp_path / "config"

    def go_live(champion, previous=()):
        numbers = (champion, *previous) if labels else (champion,)
        write_config(config, entry(base, numbers, {"stable": champion} if labels else {}))

    publish(versions / "linear-1", base, 1)
    go_live(1)
    flags = [f"--model_config_file={config}", "--model_config_file_poll_wait_seconds=1"]
    with model_server(tmp_path / "log", *flags, *(["--default_label=stable"] if labels else [])) as server:
        server.wait_ready()
        with Loop(tf, server, "m") as loop:
            loop.wait_for(1.0)
            publish(versions / "linear-2", base, 2)
            go_live(2, [1])
            loop.wait_for(2.0)
            go_live(1, [2])
            loop.wait_for(1.0)
        assert loop.failures == []
        for answers in loop.answers.values():
            assert changes(answers) == [1.0, 2.0, 1.0]


def test_broken_versions_are_reported_and_the_old_one_goes_on(versions, tmp_path):
    base = tmp_path / "m"
    publish(versions / "linear-1", base, 1)
    with model_server(tmp_path / "log", f"--model_base_path={base}", "--model_name=m") as server:
        server.wait_ready()
        garbage = tmp_path / "garbage"
        garbage.mkdir()
        (garbage / "saved_model.pb").write_bytes(b"no SavedModel")
        publish(garbage, base, 2)
        server.wait_for(lambda: server.states("m") == {2: "END", 1: "AVAILABLE"})
        without_variables = publish(versions / "linear-2", tmp_path / "staging", 3)
        shutil.rmtree(without_variables / "variables")
        publish(without_variables, base, 3)
        server.wait_for(lambda: server.states("m") == {3: "END", 2: "END", 1: "AVAILABLE"})
        _, answer = server.request("GET", "/v1/models/m")
        reasons = {item["version"]: item["status"] for item in answer["model_version_status"]}
        assert reasons["2"]["error_code"] == "DATA_LOSS"
        assert "cannot be read as a SavedModel" in reasons["2"]["error_message"]
        assert reasons["3"]["error_code"] != "OK"
        assert "variables" in reasons["3"]["error_message"]
        assert server.predict("m", [0.0]) == (200, {"predictions": [1.0]})
        assert "Traceback" not in server.log


def test_sigterm_answers_the_requests_in_flight_and_exits_with_0(tf, versions, tmp_path):
    base = tmp_path / "m"
    publish(versions / "several", base, 1)
    with model_server(tmp_path / "log", f"--model_base_path={base}", "--model_name=m") as server:
        server.wait_ready()
        assert server.predict("m", [1.0], signature="slow")[0] == 200
        with ThreadPoolExecutor(2) as pool, grpc.insecure_channel(server.address) as channel:
            rest = pool.submit(server.predict, "m", [1.0], signature="slow")
            call = pool.submit(ask, tf, channel, "m", "slow", {"x": np.ones(1, np.float32)})
            time.sleep(0.2)
            assert not rest.done()
            assert not call.done()
            assert server.stop() == 0
            assert rest.result() == (200, {"predictions": [1.0]})
            assert call.result()[1]["y"].tolist() == [1.0]
        with pytest.raises(OSError, match="refused"):
            server.predict("m", [1.0])
        assert server.log.rstrip().endswith("stopped")


def test_a_reload_through_the_stub_replaces_the_config(versions, tmp_path):
    from google.protobuf import text_format
    from tensorflow_serving.apis.model_management_pb2 import ReloadConfigRequest
    from tensorflow_serving.apis.model_service_pb2_grpc import ModelServiceStub

    base = tmp_path / "m"
    publish(versions / "linear-1", base, 1)
    with (
        model_server(tmp_path / "log", f"--model_base_path={base}", "--model_name=m") as server,
        grpc.insecure_channel(server.address) as channel,
    ):
        server.wait_ready()
        publish(versions / "linear-2", tmp_path / "other", 4)
        request = ReloadConfigRequest()
        text_format.Parse(f"model_config_list {{ {entry(tmp_path / 'other')} }}", request.config)
        reply = ModelServiceStub(channel).HandleReloadConfigRequest(request, timeout=60)
        assert reply.status.error_code == 0
        assert server.predict("other", [0.0]) == (200, {"predictions": [2.0]})
        server.wait_for(lambda: server.states("m") == {1: "END"})
