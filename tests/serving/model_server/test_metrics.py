"""What Prometheus reads after real REST and gRPC requests; a fake runtime answers."""

import socket
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress

import grpc
import numpy as np
import pytest
import requests
import uvicorn
from prometheus_client import CollectorRegistry
from prometheus_client.parser import text_string_to_metric_families

from serving.model_server.grpc_api import GrpcApi
from serving.model_server.grpc_server import make_grpc_server
from serving.model_server.load_rules import LoadRules
from serving.model_server.metrics import LATENCY_BOUNDS_US, Metrics
from serving.model_server.metrics_page import CONTENT_TYPE, metrics_page
from serving.model_server.models import Models
from serving.model_server.monitoring import metrics_path
from serving.model_server.request import Request, Run
from serving.model_server.rest import RestApi
from serving.model_server.rest_doors import with_cors, with_page
from serving.wire.predict_pb2 import PredictRequest, PredictResponse
from serving.wire.tensors import to_proto
from slipway.errors import InputError
from tests.serving.model_server.fakes import FakeLoads, eventually, put_version, settings, spec
from tests.serving.model_server.processes import free_ports

PAGE = "/monitoring/prometheus/metrics"


@contextmanager
def rest_port(app):
    """The application on a free port, in a thread."""
    listener = socket.create_server(("127.0.0.1", 0))
    server = uvicorn.Server(uvicorn.Config(app, lifespan="off", log_config=None, ws="none"))
    thread = threading.Thread(target=server.run, args=([listener],))
    thread.start()
    try:
        eventually(lambda: server.started)
        yield listener.getsockname()[1]
    finally:
        server.should_exit = True
        thread.join()


class World:
    """Both APIs over a model `m` with versions 1 and 2, of which 3 cannot be loaded."""

    def __init__(self, base, rest_timeout_s=30.0):
        for number, offset in ((1, 1), (2, 2), (3, "broken")):
            put_version(base, number, offset)
        self.metrics = Metrics(lambda name: name == "m")
        rules = LoadRules(
            FakeLoads(),
            on_loaded=lambda name, path, code, took_s: self.metrics.loaded(name, str(path), code, took_s),
        )
        self.models = Models(rules)
        self.models.configure([settings(base, specific=[1, 2, 3])])
        eventually(lambda: [str(v.state) for v in self.models.versions(spec())] == ["50", "30", "30"])
        self.rest_timeout_s = rest_timeout_s
        self.page = metrics_page(self.metrics, self.models, CollectorRegistry())

    @contextmanager
    def started(self):
        with ThreadPoolExecutor(4) as threads:
            api = RestApi(self.models, threads, self.rest_timeout_s, 10_000, metrics=self.metrics)
            with rest_port(with_page(api, PAGE, CONTENT_TYPE, self.page)) as port:
                self.address = f"http://127.0.0.1:{port}"
                grpc_port = free_ports(1)[0]
                server = make_grpc_server(GrpcApi(self.models, metrics=self.metrics), f"127.0.0.1:{grpc_port}", 2)
                server.start()
                try:
                    with grpc.insecure_channel(f"127.0.0.1:{grpc_port}") as self.channel:
                        yield self
                finally:
                    server.stop(None).wait()

    def rest(self, path, **document):
        document = document or {"instances": [1.0]}
        return requests.post(f"{self.address}/v1/models/{path}", json=document, timeout=20).status_code

    def grpc(self, model_spec):
        request = PredictRequest(model_spec=model_spec)
        request.inputs["x"].CopyFrom(to_proto(np.zeros(1, np.float32)))
        call = self.channel.unary_unary(
            "/tensorflow.serving.PredictionService/Predict",
            lambda message: message.SerializeToString(),
            PredictResponse.FromString,
        )
        with suppress(grpc.RpcError):
            call(request, timeout=10)

    def scraped(self):
        reply = requests.get(f"{self.address}{PAGE}", timeout=20)
        assert reply.status_code == 200
        assert reply.headers["content-type"].startswith("text/plain; version=0.0.4")
        return {
            (bare(sample.name), *(f"{name}={value}" for name, value in sorted(sample.labels.items()))): sample.value
            for family in text_string_to_metric_families(reply.text)
            for sample in family.samples
        }


def bare(name):
    """The name on the page: the parser adds _total to every counter's."""
    return name.removesuffix("_total") if name.startswith(":tensorflow:") else name


@pytest.fixture
def world(tmp_path):
    with World(tmp_path / "m").started() as world:
        yield world


def test_requests_are_counted_by_tensorflow_servings_names(world):
    assert world.rest("m:predict") == 200
    assert world.rest("m/versions/1:predict") == 200
    assert world.rest("m:predict", instances=["a"]) == 400
    world.grpc(spec())
    found = world.scraped()
    count = ":tensorflow:serving:request_count"
    assert found[count, "model_name=m", "status=OK"] == 3
    assert found[count, "model_name=m", "status=INVALID_ARGUMENT"] == 1
    latency = ":tensorflow:serving:request_latency"
    assert found[f"{latency}_count", "API=predict", "entrypoint=REST", "model_name=m"] == 2
    assert found[f"{latency}_count", "API=Predict", "entrypoint=GRPC", "model_name=m"] == 1
    assert found[f"{latency}_sum", "API=predict", "entrypoint=REST", "model_name=m"] > 0
    runtime = ":tensorflow:serving:runtime_latency"
    assert found[f"{runtime}_count", "API=predict", "model_name=m", "runtime=fake"] == 2


def test_types_and_buckets_are_tensorflow_servings(world):
    world.rest("m:predict")
    page = requests.get(f"{world.address}{PAGE}", timeout=20).text
    assert "# TYPE :tensorflow:serving:request_count counter\n" in page
    assert '\n:tensorflow:serving:request_count{model_name="m",status="OK"} 1.0\n' in page
    assert "# TYPE :tensorflow:serving:request_latency histogram\n" in page
    families = {family.name: family for family in text_string_to_metric_families(page)}
    bounds = [
        float(sample.labels["le"])
        for sample in families[":tensorflow:serving:request_latency"].samples
        if sample.name.endswith("_bucket")
    ]
    assert bounds[:3] == [10, 18, 32.4]
    assert len(bounds) == len(LATENCY_BOUNDS_US) + 1 == 34
    assert bounds[-1] == float("inf")


def test_our_own_name_the_version_the_signature_and_the_variant(world):
    world.rest("m:predict")
    world.rest("m/versions/1:predict", signature_name="crash", instances=[1.0])
    world.grpc(spec(version=1))
    world.rest("m/versions/1:explain", instances=[1.0])
    found = world.scraped()

    def count(**labels):
        return found["slipway_requests_total", *(f"{name}={value}" for name, value in sorted(labels.items()))]

    same = {"model": "m", "label": "", "variant": "fake"}
    rest = {**same, "api": "REST", "method": "predict"}
    assert count(**rest, version=2, signature="serving_default", status="OK") == 1
    assert count(**rest, version=1, signature="crash", status="INTERNAL") == 1
    explained = {**same, "api": "REST", "method": "explain"}
    assert count(**explained, version=1, signature="", status="UNIMPLEMENTED") == 1
    assert count(**same, api="GRPC", method="Predict", version=1, signature="serving_default", status="OK") == 1
    assert found["slipway_requests_in_flight",] == 0
    assert found["process_resident_memory_bytes",] > 1e6


def test_versions_and_their_loads_are_shown(world):
    found = world.scraped()
    states = {(2, "AVAILABLE"): 1, (2, "END"): 0, (3, "END"): 1, (3, "AVAILABLE"): 0}
    for (version, state), value in states.items():
        assert found["slipway_version_state", "model=m", f"state={state}", f"version={version}"] == value
    assert {found["slipway_version_faults", "model=m", f"version={number}"] for number in (1, 2, 3)} == {0}
    assert found["slipway_load_seconds_count", "model=m", "status=OK"] == 2
    assert found["slipway_load_seconds_count", "model=m", "status=INTERNAL"] == 1
    attempts = {key[1:]: value for key, value in found.items() if key[0].endswith("load_attempt_count")}
    assert sorted(attempts.values()) == [1, 1, 1]
    assert sum("status=fail" in key for key in attempts) == 1


def test_names_that_clients_make_up_are_not_kept(world):
    for number in range(20):
        world.rest(f"made_up_{number}:predict")
        world.grpc(spec(f"made_up_{number}"))
    world.rest("m:predict", signature_name="made_up", instances=[1.0])
    world.rest("m/versions/77:predict")
    found = world.scraped()
    assert not [key for key in found if "made_up" in str(key) or "version=77" in key]
    assert found[":tensorflow:serving:request_count", "model_name=", "status=NOT_FOUND"] == 40
    assert found[":tensorflow:serving:request_count", "model_name=m", "status=NOT_FOUND"] == 1


def test_a_rest_request_that_ran_out_of_time_counts_as_that(tmp_path):
    with World(tmp_path / "m", rest_timeout_s=0.2).started() as world:
        assert world.rest("m:predict", signature_name="slow", instances=[1.0]) == 504
        found = world.scraped()
        assert found[":tensorflow:serving:request_count", "model_name=m", "status=DEADLINE_EXCEEDED"] == 1


def test_a_body_that_is_too_large_counts_as_the_clients_mistake(world):
    assert world.rest("m:predict", instances=[1.0] * 5000) == 413
    assert world.scraped()[":tensorflow:serving:request_count", "model_name=m", "status=INVALID_ARGUMENT"] == 1


def test_requests_in_flight_are_seen_while_they_are(world):
    with ThreadPoolExecutor(3) as clients:
        slow = [clients.submit(world.rest, "m:predict", signature_name="slow", instances=[1.0]) for _ in range(3)]
        eventually(lambda: world.scraped()["slipway_requests_in_flight",] == 3)
        assert [client.result() for client in slow] == [200] * 3
    assert world.scraped()["slipway_requests_in_flight",] == 0


def test_counting_from_many_threads_loses_nothing():
    metrics = Metrics()

    def work():
        for _ in range(500):
            with Request(metrics, "GRPC", "Predict", "m") as request:
                request.ran(Run("serving_default", {}, (), {}), 0.001)

    threads = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    now = metrics.snapshot()
    assert sum(sum(found.counts) for found in now.requests.values()) == 4000
    assert sum(found.total for found in now.runs.values()) == pytest.approx(4000 * 1000)
    assert now.in_flight == 0


def test_the_page_is_at_the_path_that_the_file_says(tmp_path):
    config = tmp_path / "monitoring.config"
    for text, expected in (
        ("prometheus_config { enable: true }", PAGE),
        ('prometheus_config { enable: true, path: "/metrics" }', "/metrics"),
        ('prometheus_config { path: "/metrics" }', None),
        ("", None),
    ):
        config.write_text(text)
        assert metrics_path(config) == expected
    for text, expected in (
        ("prometheus_config {\n  enabled: true\n}", "line 2: .*MonitoringConfig"),
        ('prometheus_config { enable: true, path: "metrics" }', "expected a path that starts with /"),
        ('prometheus_config { enable: true, path: "/v1/models" }', "and not with /v1/"),
    ):
        config.write_text(text)
        with pytest.raises(InputError, match=expected) as refusal:
            metrics_path(config)
        assert str(refusal.value).startswith(str(config))


def test_pages_of_other_origins_may_call_when_cors_is_on(world):
    headers = {
        "access-control-allow-origin": "*",
        "access-control-allow-methods": "POST, GET",
        "access-control-allow-headers": "Content-Type, Authorization",
    }
    path = "/v1/models/m:predict"
    with ThreadPoolExecutor(1) as threads:
        api = RestApi(world.models, threads, 10, 10_000)
        with rest_port(with_cors(api)) as port:
            address = f"http://127.0.0.1:{port}"
            preflight = requests.options(
                address + path, headers={"Origin": "http://page", "Access-Control-Request-Method": "POST"}, timeout=20
            )
            replies = [
                requests.post(address + path, json={"instances": [1.0]}, timeout=20),
                requests.post(address + path, json={"instances": ["wrong"]}, timeout=20),
                requests.get(address + "/v1/models/m", timeout=20),
            ]
    assert (preflight.status_code, preflight.content) == (200, b"")
    assert [reply.status_code for reply in replies] == [200, 400, 200]
    for reply in (preflight, *replies):
        assert headers.items() <= dict(reply.headers).items()
    refused = requests.options(world.address + path, timeout=20)
    assert refused.status_code == 400
    assert "access-control-allow-origin" not in refused.headers
