"""The gRPC health service: Check is in test_grpc.py; here Watch and List."""

import socket
import struct
import threading
import time
from contextlib import contextmanager

import grpc
import pytest

from serving.model_server.grpc_api import GrpcApi
from serving.model_server.grpc_server import GrpcOptions, make_grpc_server
from serving.model_server.load_rules import LoadRules
from serving.model_server.models import Models
from serving.wire.get_model_status_pb2 import GetModelStatusRequest, GetModelStatusResponse
from serving.wire.health_pb2 import HealthCheckRequest, HealthCheckResponse, HealthListRequest, HealthListResponse
from tests.serving.model_server.fakes import FakeLoads, put_version, settings
from tests.serving.model_server.processes import free_ports

PREDICTION = "tensorflow.serving.PredictionService"
STRANGERS = 200
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
        self.address = ("127.0.0.1", port)
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

    def ask(self, method, request, kind, service="grpc.health.v1.Health", timeout_s=10):
        call = self.channel.unary_unary(
            f"/{service}/{method}", lambda message: message.SerializeToString(), kind.FromString
        )
        return call(request, timeout=timeout_s)

    def assert_answers(self):
        self.ask("Check", HealthCheckRequest(), HealthCheckResponse, timeout_s=1.5)
        status = GetModelStatusRequest()
        status.model_spec.name = "m"
        self.ask("GetModelStatus", status, GetModelStatusResponse, "tensorflow.serving.ModelService", timeout_s=1.5)


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


@contextmanager
def streams_without_a_message(world, method):
    done = threading.Event()

    def nothing():
        done.wait(30)
        return
        yield

    with grpc.insecure_channel(f"127.0.0.1:{world.address[1]}", [("grpc.use_local_subchannel_pool", 1)]) as stranger:
        call = stranger.stream_stream(f"/grpc.health.v1.Health/{method}")
        calls = [call(nothing(), timeout=30) for _ in range(STRANGERS)]
        try:
            yield
        finally:
            done.set()
            for each in calls:
                each.cancel()


@contextmanager
def watches_whose_answers_are_not_taken(world):
    """One connection that lets the server send nothing on its streams."""

    def frame(kind, flags, stream, payload):
        return struct.pack(">I", len(payload))[1:] + struct.pack(">BBI", kind, flags, stream) + payload

    def header(name, value):
        return bytes([0, len(name)]) + name + bytes([len(value)]) + value

    pairs = {b":method": b"POST", b":scheme": b"http", b":path": b"/grpc.health.v1.Health/Watch", b":authority": b"a"}
    pairs |= {b"te": b"trailers", b"content-type": b"application/grpc"}
    headers = b"".join(header(name, value) for name, value in pairs.items())
    no_window = frame(4, 0, 0, struct.pack(">HI", 4, 0))
    with socket.create_connection(world.address) as connection:
        connection.sendall(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + no_window)
        for stream in range(1, 2 * STRANGERS, 2):
            connection.sendall(frame(1, 4, stream, headers) + frame(0, 1, stream, bytes(5)))
        yield


@pytest.mark.parametrize("method", ["Check", "List", "Watch"])
def test_strangers_who_send_no_message_hold_up_neither_health_nor_status(world, method):
    world.serve_model()
    next(world.watch())
    with streams_without_a_message(world, method):
        time.sleep(0.5)
        world.assert_answers()


def test_strangers_who_take_no_answer_hold_up_neither_health_nor_status(world):
    world.serve_model()
    next(world.watch())
    with watches_whose_answers_are_not_taken(world):
        time.sleep(0.5)
        world.assert_answers()


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
