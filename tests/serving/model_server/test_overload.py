"""A server that has too much to do, asked over real sockets; the runtime waits until it is told to go on."""

import http.client
import json
import socket
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import grpc
import numpy as np
import pytest
import uvicorn

from serving.model_server.admission import Admission
from serving.model_server.grpc_api import GrpcApi
from serving.model_server.grpc_server import make_grpc_server
from serving.model_server.load_rules import LoadRules
from serving.model_server.models import Models
from serving.model_server.rest import RestApi
from serving.model_server.runtimes import Loaded, Variant
from serving.wire.get_model_status_pb2 import GetModelStatusRequest, GetModelStatusResponse
from serving.wire.health_pb2 import HealthCheckRequest, HealthCheckResponse
from serving.wire.predict_pb2 import PredictRequest, PredictResponse
from serving.wire.tensors import to_proto
from tests.serving.model_server.fakes import FakeRuntime, eventually, put_version, settings, spec

WELCOME = 48
PATH = "/v1/models/m:predict"
BODY = json.dumps({"instances": [1.0]}).encode()
PREDICT = "/tensorflow.serving.PredictionService/Predict"


class HeldRuntime(FakeRuntime):
    gate = threading.Event()

    def run(self, name, inputs, outputs):
        assert self.gate.wait(60)
        return super().run(name, inputs, outputs)


@pytest.fixture
def models(tmp_path):
    HeldRuntime.gate = threading.Event()
    put_version(tmp_path / "m", 1, 1)
    models = Models(LoadRules(lambda _path: Loaded(HeldRuntime(1), Variant("fake"))))
    models.configure([settings(tmp_path / "m")])
    eventually(models.ready)
    yield models
    HeldRuntime.gate.set()


@pytest.fixture
def admission():
    return Admission(0.5)


@pytest.fixture
def port(models, admission):
    listener = socket.create_server(("127.0.0.1", 0))
    with ThreadPoolExecutor(4) as threads:
        api = RestApi(models, threads, 30.0, 2**24, admission=admission)
        server = uvicorn.Server(uvicorn.Config(api, lifespan="off", log_config=None, ws="none"))
        thread = threading.Thread(target=server.run, args=([listener],))
        thread.start()
        eventually(lambda: server.started)
        yield listener.getsockname()[1]
        HeldRuntime.gate.set()
        server.should_exit = True
        thread.join()


def ask(port, body=BODY):
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    connection.request("POST", PATH, body)
    status = connection.getresponse().status
    connection.close()
    return status


@pytest.fixture
def clients():
    with ThreadPoolExecutor(WELCOME) as clients:
        yield clients
        HeldRuntime.gate.set()


def fill(admission, clients, ask_one):
    """As many requests as are let in, none of which is answered yet."""
    answers = [clients.submit(ask_one) for _ in range(WELCOME)]
    eventually(lambda: admission.in_flight == WELCOME)
    return answers


def test_rest_refuses_with_429_before_the_body_is_sent_and_keeps_the_connection(port, admission, clients):
    answers = fill(admission, clients, lambda: ask(port))
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    connection.putrequest("POST", PATH)
    connection.putheader("Content-Length", str(10**6))
    connection.endheaders()
    refusal = connection.getresponse()
    assert (refusal.status, refusal.headers["Retry-After"]) == (429, "1")
    assert json.loads(refusal.read())["error"].startswith("The server is overloaded: 48 requests")
    connection.send(b" " * 10**6)
    for path in ("/healthz", "/v1/models", "/v1/models/m", "/v1/models/m/metadata"):
        connection.request("GET", path)
        answer = connection.getresponse()
        assert answer.read()
        assert answer.status == 200
    HeldRuntime.gate.set()
    assert [answer.result() for answer in answers] == [200] * WELCOME
    connection.request("POST", PATH, BODY)
    assert connection.getresponse().status == 200
    connection.close()


def test_grpc_refuses_with_resource_exhausted_before_the_tensors_are_received(models, admission, clients):
    server = make_grpc_server(GrpcApi(models, admission=admission), "127.0.0.1:0", 4)
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    options = [("grpc.max_send_message_length", -1)]
    with grpc.insecure_channel(f"127.0.0.1:{port}", options) as channel:

        def call(method, request, response_type):
            stub = channel.unary_unary(method, lambda message: message.SerializeToString(), response_type.FromString)
            return stub(request, timeout=60)

        def predict(values):
            request = PredictRequest(model_spec=spec())
            request.inputs["x"].CopyFrom(to_proto(values))
            return call(PREDICT, request, PredictResponse)

        answers = fill(admission, clients, lambda: predict(np.ones(1, np.float32)))
        start = time.monotonic()
        with pytest.raises(grpc.RpcError) as refusal:
            predict(np.ones(10**7, np.float32))
        assert refusal.value.code() == grpc.StatusCode.RESOURCE_EXHAUSTED
        assert refusal.value.details().startswith("The server is overloaded")
        assert time.monotonic() - start < 5.0
        health = call("/grpc.health.v1.Health/Check", HealthCheckRequest(), HealthCheckResponse)
        assert health.status == HealthCheckResponse.SERVING
        request = GetModelStatusRequest(model_spec=spec())
        assert call("/tensorflow.serving.ModelService/GetModelStatus", request, GetModelStatusResponse)
        HeldRuntime.gate.set()
        assert all(answer.result() for answer in answers)
        assert predict(np.ones(1, np.float32))
    server.stop(None).wait()


def test_a_call_that_is_cancelled_while_it_waits_makes_room(models, admission):
    server = make_grpc_server(GrpcApi(models, admission=admission), "127.0.0.1:0", 2)
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    with grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
        stub = channel.unary_unary(PREDICT)
        request = PredictRequest(model_spec=spec())
        request.inputs["x"].CopyFrom(to_proto(np.ones(1, np.float32)))
        calls = [stub.future(request.SerializeToString()) for _ in range(10)]
        eventually(lambda: admission.in_flight == 10)
        for call in calls:
            call.cancel()
        HeldRuntime.gate.set()
        eventually(lambda: admission.in_flight == 0)
    server.stop(None).wait()
