"""Spans of real REST and gRPC requests, as a collector gets them; a fake runtime answers."""

import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import grpc
import numpy as np
import pytest
import requests

from serving.model_server.admission import Admission
from serving.model_server.batch_threads import BatchThreads
from serving.model_server.batching import batched_loader
from serving.model_server.batching_parameters import BatchingParameters
from serving.model_server.flag_parsing import parse_flags
from serving.model_server.grpc_api import GrpcApi
from serving.model_server.grpc_server import make_grpc_server
from serving.model_server.load_rules import LoadRules
from serving.model_server.metrics import Metrics
from serving.model_server.models import Models
from serving.model_server.otlp_tracing import OtlpTracing
from serving.model_server.rest import RestApi
from serving.wire.predict_pb2 import PredictRequest, PredictResponse
from serving.wire.tensors import to_proto
from slipway.errors import InputError
from tests.serving.model_server.fakes import FakeLoads, eventually, put_version, settings, spec
from tests.serving.model_server.otlp_receiver import attributes, otlp_receiver
from tests.serving.model_server.processes import free_ports
from tests.serving.model_server.test_metrics import rest_port

TRACE, PARENT = "ab" * 16, "cd" * 8
TRACEPARENT = f"00-{TRACE}-{PARENT}-01"
PREDICT = "/tensorflow.serving.PredictionService/Predict"


@pytest.fixture
def collector():
    with otlp_receiver() as receiver:
        yield receiver


class World:
    """Version 1 of `m`, stable, behind both APIs, traced to a collector."""

    def __init__(self, base, collector, share=1.0, load=None):
        self.collector = collector
        self.tracing = OtlpTracing(collector.url, share)
        self.metrics = Metrics(tracing=self.tracing)
        self.models = Models(LoadRules(load or FakeLoads()))
        put_version(base, 1, 1)
        self.models.configure([settings(base, labels={"stable": 1})])
        eventually(lambda: self.models.served()[0].labels == {"stable": 1})

    def rest(self, signature="serving_default", **headers):
        with ThreadPoolExecutor(2) as threads:
            api = RestApi(self.models, threads, 20, 10_000, metrics=self.metrics, admission=Admission(0))
            with rest_port(api) as port:
                document = {"instances": [1.0, 2.0], "signature_name": signature}
                url = f"http://127.0.0.1:{port}/v1/models/m:predict"
                return requests.post(url, json=document, headers=headers, timeout=20)

    def grpc(self, *metadata):
        port = free_ports(1)[0]
        server = make_grpc_server(GrpcApi(self.models, metrics=self.metrics), f"127.0.0.1:{port}", 2)
        server.start()
        request = PredictRequest(model_spec=spec())
        request.inputs["x"].CopyFrom(to_proto(np.zeros(1, np.float32)))
        try:
            with grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
                call = channel.unary_unary(PREDICT, lambda each: each.SerializeToString(), PredictResponse.FromString)
                call(request, timeout=10, metadata=metadata)
        finally:
            server.stop(None).wait()

    def spans(self):
        """All that were sent, once nothing is left to be sent."""
        self.tracing.close()
        return {span.name: span for span in self.collector.spans}


def test_a_request_is_a_span_with_its_wait_and_its_run_inside(tmp_path, collector):
    world = World(tmp_path / "m", collector)
    reply = world.rest()
    assert reply.status_code == 200
    spans = world.spans()
    request = spans["predict"]
    assert attributes(request) == {
        "slipway.model": "m",
        "slipway.version": 1,
        "slipway.label": "stable",
        "slipway.variant": "fake",
        "slipway.signature": "serving_default",
        "slipway.request_id": reply.headers["x-slipway-request-id"],
        "slipway.api": "REST",
        "slipway.status": "OK",
    }
    assert set(spans) == {"predict", "queue", "run"}
    for name in ("queue", "run"):
        part = spans[name]
        assert (part.trace_id, part.parent_span_id) == (request.trace_id, request.span_id)
        assert request.start_time_unix_nano <= part.start_time_unix_nano <= part.end_time_unix_nano
        assert part.end_time_unix_nano <= request.end_time_unix_nano
    assert attributes(spans["run"]) == {"slipway.rows": 2}
    assert (collector.services, collector.paths) == ({"slipway-model-server"}, {"/v1/traces"})


def test_a_trace_that_the_caller_began_goes_on_over_rest_and_over_grpc(tmp_path, collector):
    world = World(tmp_path / "m", collector, share=0.0)
    world.rest(traceparent=TRACEPARENT)
    world.grpc(("traceparent", TRACEPARENT))
    spans = world.spans()
    for name, api in (("predict", "REST"), ("Predict", "GRPC")):
        assert (spans[name].trace_id.hex(), spans[name].parent_span_id.hex()) == (TRACE, PARENT)
        assert attributes(spans[name])["slipway.api"] == api
    queue = [span for span in collector.named("queue") if span.parent_span_id == spans["Predict"].span_id]
    assert len(queue) == 1


@pytest.mark.parametrize("traceparent", ["", "nonsense", f"00-{TRACE}-{PARENT}-00"])
def test_nothing_is_sent_of_what_neither_the_share_nor_the_caller_chose(tmp_path, collector, traceparent):
    world = World(tmp_path / "m", collector, share=0.0)
    assert world.rest(traceparent=traceparent).status_code == 200
    assert world.spans() == {}


def test_a_failure_of_the_servers_own_is_an_error_and_a_clients_mistake_is_none(tmp_path, collector):
    world = World(tmp_path / "m", collector)
    assert world.rest(signature="crash").status_code == 500
    assert world.rest(signature="refuse").status_code == 400
    world.spans()
    found = {attributes(span)["slipway.status"]: span.status for span in collector.named("predict")}
    assert (found["INTERNAL"].code, found["INTERNAL"].message) == (2, "INTERNAL")
    assert found["INVALID_ARGUMENT"].code == 0
    assert "secret" not in str(collector.spans)


def test_requests_that_ran_as_one_batch_say_how_long_they_waited_for_it(tmp_path, collector):
    rules = BatchingParameters(max_batch_size=4, batch_timeout_micros=10_000_000)
    world = World(tmp_path / "m", collector, load=batched_loader(FakeLoads(), rules, BatchThreads(1), per_model=False))
    clients = [threading.Thread(target=world.rest) for _ in range(2)]
    for client in clients:
        client.start()
    for client in clients:
        client.join()
    world.spans()
    assert [attributes(span)["slipway.rows"] for span in collector.named("run")] == [4, 4]
    assert [attributes(span)["slipway.rows"] for span in collector.named("batch")] == [2, 2]


def test_a_collector_that_is_away_fails_no_request_and_holds_up_no_end(tmp_path):
    with otlp_receiver() as gone:
        pass
    world = World(tmp_path / "m", gone)
    assert world.rest().status_code == 200
    began = time.monotonic()
    world.tracing.close()
    assert time.monotonic() - began < 8, "the server's end does not wait for it"


@pytest.mark.parametrize(
    ("flag", "expected"),
    [
        ("--trace_endpoint=collector:4318", "expected the address of an OTLP/HTTP collector"),
        ("--trace_endpoint=http://", "expected the address"),
        ("--trace_endpoint=ftp://user:secret@x", "expected the address"),
        ("--trace_sample=1.5", "expected a share from 0 to 1"),
        ("--log_format=xml", "expected one of text, json"),
    ],
)
def test_what_makes_no_sense_is_refused(flag, expected):
    with pytest.raises(InputError, match=expected) as refusal:
        parse_flags(["--model_base_path=x", flag])
    assert "secret" not in str(refusal.value)


def test_without_the_extra_the_error_says_how_to_install_it():
    program = """
import sys
sys.modules["opentelemetry"] = None
from slipway.errors import InputError
try:
    import serving.model_server.otlp_tracing
except InputError as error:
    print(error)
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=True)
    assert "pip install 'slipway[tracing]'" in done.stdout


def test_a_server_that_is_not_asked_to_trace_imports_nothing_for_it():
    program = "import sys, serving.model_server.process; print('opentelemetry' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout == "False\n"
