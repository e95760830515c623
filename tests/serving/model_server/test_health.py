"""The gRPC health service: Check is in test_grpc.py; here Watch and List."""

import threading
import time

import grpc
import pytest

from serving.model_server.grpc_api import GrpcApi
from serving.model_server.grpc_server import GrpcOptions, make_grpc_server
from serving.model_server.load_rules import LoadRules
from serving.model_server.models import Models
from serving.wire.health_pb2 import HealthCheckRequest, HealthCheckResponse, HealthListRequest, HealthListResponse
from tests.serving.model_server.fakes import FakeLoads, put_version, settings
from tests.serving.model_server.processes import free_ports

PREDICTION = "tensorflow.serving.PredictionService"
SERVING, NOT_SERVING = HealthCheckResponse.SERVING, HealthCheckResponse.NOT_SERVING


class World:
    """A server with one thread for calls, and a model that a test can add."""

    def __init__(self, base, *, health=True):
        self.base = base
        put_version(base, 1, 1)
        self.models = Models(LoadRules(FakeLoads()))
        self.draining = threading.Event()
        port = free_ports(1)[0]
        api = GrpcApi(self.models, self.draining.is_set)
        self.server = make_grpc_server(api, f"127.0.0.1:{port}", 1, GrpcOptions(health=health))
        self.server.start()
        self.channel = grpc.insecure_channel(f"127.0.0.1:{port}")

    def serve_model(self):
        self.models.configure([settings(self.base)])

    def watch(self, service=""):
        call = self.channel.unary_stream(
            "/grpc.health.v1.Health/Watch",
            lambda message: message.SerializeToString(),
            HealthCheckResponse.FromString,
        )
        return call(HealthCheckRequest(service=service), timeout=30)

    def ask(self, method, request, kind):
        call = self.channel.unary_unary(
            f"/grpc.health.v1.Health/{method}", lambda message: message.SerializeToString(), kind.FromString
        )
        return call(request, timeout=10)


@pytest.fixture
def world(tmp_path):
    world = World(tmp_path / "m")
    yield world
    world.channel.close()
    world.server.stop(None).wait()


def test_watch_tells_the_status_at_once_and_when_it_changes(world):
    statuses = world.watch()
    assert next(statuses).status == NOT_SERVING
    world.serve_model()
    assert next(statuses).status == SERVING
    world.models.configure([])
    assert next(statuses).status == NOT_SERVING


def test_watch_of_a_service_that_is_not_here_says_so_and_stays_open(world):
    statuses = world.watch("other")
    assert next(statuses).status == HealthCheckResponse.SERVICE_UNKNOWN
    assert statuses.is_active()


def test_many_watchers_keep_no_thread_from_calls(world):
    world.serve_model()
    watching = [world.watch() for _ in range(50)]
    assert [next(statuses).status in {SERVING, NOT_SERVING} for statuses in watching] == [True] * 50
    world.ask("Check", HealthCheckRequest(), HealthCheckResponse)


def test_a_watch_ends_when_the_server_drains_so_that_it_need_not_be_waited_for(world):
    world.serve_model()
    statuses = world.watch()
    seen = [next(statuses).status]
    while seen[-1] != SERVING:
        seen.append(next(statuses).status)
    world.draining.set()
    assert [reply.status for reply in statuses] == [NOT_SERVING]
    started = time.monotonic()
    assert world.server.stop(20).wait(20)
    assert time.monotonic() - started < 5


def test_a_client_that_is_gone_is_not_told_and_others_are(world):
    gone, staying = world.watch(), world.watch()
    assert next(gone).status == next(staying).status == NOT_SERVING
    gone.cancel()
    world.serve_model()
    assert next(staying).status == SERVING


def test_list_names_every_service(world):
    listed = world.ask("List", HealthListRequest(), HealthListResponse).statuses
    assert {name: reply.status for name, reply in listed.items()} == {
        "": NOT_SERVING,
        PREDICTION: NOT_SERVING,
        "tensorflow.serving.ModelService": NOT_SERVING,
    }


def test_without_the_flag_there_is_no_health_service(tmp_path):
    world = World(tmp_path / "m", health=False)
    with pytest.raises(grpc.RpcError, check=lambda error: error.code() == grpc.StatusCode.UNIMPLEMENTED):
        world.ask("Check", HealthCheckRequest(), HealthCheckResponse)
    world.channel.close()
    world.server.stop(None).wait()


def test_reflection_is_off(world):
    call = world.channel.unary_unary("/grpc.reflection.v1.ServerReflection/ServerReflectionInfo")
    with pytest.raises(grpc.RpcError, check=lambda error: error.code() == grpc.StatusCode.UNIMPLEMENTED):
        call(b"", timeout=10)
