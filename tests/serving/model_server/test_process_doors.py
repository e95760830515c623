"""Flags of the server's doors, given to a real process that serves an ONNX model."""

import ssl

import grpc
import numpy as np
import pytest
from prometheus_client.parser import text_string_to_metric_families

from serving.wire.predict_pb2 import PredictRequest, PredictResponse
from serving.wire.tensors import to_numpy, to_proto
from tests.serving.model_server.certificates import Authority, ssl_config
from tests.serving.model_server.fakes import eventually
from tests.serving.model_server.plain_models import write_onnx
from tests.serving.model_server.processes import model_server


@pytest.fixture
def base(tmp_path):
    (tmp_path / "m" / "1").mkdir(parents=True)
    write_onnx(tmp_path / "m" / "1")
    return tmp_path / "m"


def predict(channel):
    request = PredictRequest()
    request.model_spec.name = "m"
    request.inputs["a"].CopyFrom(to_proto(np.ones((1, 2), np.float32)))
    request.inputs["b"].CopyFrom(to_proto(np.array([3], np.int64)))
    call = channel.unary_unary(
        "/tensorflow.serving.PredictionService/Predict",
        lambda message: message.SerializeToString(),
        PredictResponse.FromString,
    )
    return to_numpy(call(request, timeout=20).outputs["sum"]).tolist()


def get(server, path, method="GET"):
    connection = server.connect()
    connection.request(method, path)
    response = connection.getresponse()
    return response, response.read().decode()


def test_one_server_with_all_of_its_doors_open(base, tmp_path):
    authority = Authority()
    key, certificate = authority.issue("server")
    config = ssl_config(tmp_path / "ssl.config", server_key=key, server_cert=certificate)
    monitoring = tmp_path / "monitoring.config"
    monitoring.write_text('prometheus_config { enable: true, path: "/metrics" }')
    socket_path = tmp_path / "grpc.sock"
    flags = (
        *(f"--model_base_path={base}", "--model_name=m", "--runtime=onnxruntime"),
        *(f"--ssl_config_file={config}", f"--monitoring_config_file={monitoring}", f"--grpc_socket_path={socket_path}"),
        *("--rest_api_enable_cors_support", "--rest_api_num_threads=3", "--grpc_max_threads=3"),
        *("--num_load_threads=1", "--num_unload_threads=1", "--grpc_channel_arguments=grpc.max_concurrent_streams=9"),
        *("--tensorflow_session_parallelism=1", "--flush_filesystem_caches=false", "--enable_profiler=false"),
    )
    trusting = ssl.create_default_context(cadata=authority.pem)
    with model_server(tmp_path / "log", *flags, tls=trusting) as server:
        server.wait_ready()
        credentials = grpc.ssl_channel_credentials(authority.pem.encode())
        for target in (server.address, f"unix:{socket_path}"):
            # A certificate has no name for a socket: the client says whom it expects.
            options = [("grpc.ssl_target_name_override", "localhost")]
            with grpc.secure_channel(target, credentials, options) as channel:
                assert predict(channel) == [5.0]
        status, answer = server.predict("m", [{"a": [1, 1], "b": 3}])
        assert (status, answer) == (200, {"predictions": [{"sum": 5.0, "twice": 6}]})
        response, page = get(server, "/metrics")
        assert response.status == 200
        assert response.headers["access-control-allow-origin"] == "*"
        counts = {
            tuple(sample.labels.values()): sample.value
            for family in text_string_to_metric_families(page)
            if family.name == ":tensorflow:serving:request_count"
            for sample in family.samples
        }
        assert counts == {("m", "OK"): 3}
        assert f"grpc+unix:{socket_path}" in server.log
        assert server.stop() == 0
    assert not socket_path.exists()


def test_metrics_are_not_served_unless_a_file_enables_them(base, tmp_path):
    with model_server(
        tmp_path / "log", f"--model_base_path={base}", "--model_name=m", "--runtime=onnxruntime"
    ) as server:
        server.wait_ready()
        assert get(server, "/monitoring/prometheus/metrics")[0].status == 404
        assert get(server, "/v1/models/m", "OPTIONS")[0].status == 400


@pytest.mark.parametrize("flag", ["ssl_config_file", "monitoring_config_file", "batching_parameters_file"])
def test_a_file_with_a_mistake_stops_the_start_and_names_file_and_line(base, tmp_path, flag):
    path = tmp_path / "file.config"
    path.write_text("# a comment\nnonsense: 1\n")
    flags = (f"--{flag}={path}", *(["--enable_batching"] if "batching" in flag else []))
    with model_server(tmp_path / "log", f"--model_base_path={base}", *flags) as server:
        assert server.process.wait(30) == 2
        assert server.log.startswith(f"error: {path}: line 2: ")
        assert server.log.count("\n") == 1


def test_a_watched_stream_does_not_hold_up_the_end(base, tmp_path):
    with model_server(tmp_path / "log", f"--model_base_path={base}", "--runtime=onnxruntime") as server:
        server.wait_ready()
        with grpc.insecure_channel(server.address) as channel:
            watch = channel.unary_stream("/grpc.health.v1.Health/Watch")
            statuses = iter(watch(b"", timeout=60))
            eventually(lambda: next(statuses) == b"\x08\x01")
            assert server.stop() == 0
