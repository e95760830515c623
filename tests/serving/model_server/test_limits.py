"""What one client may hold: headers, time, connections, bodies, messages. Each limit is tried, and others go on."""

import contextlib
import gzip
import http.client
import json
import socket
import threading
import time

import grpc
import pytest

from serving.model_server.grpc_api import GrpcApi
from serving.model_server.grpc_server import GrpcOptions, make_grpc_server
from serving.model_server.rest_limits import RestLimits
from tests.serving.model_server.closed_world import PATH, PREDICT, STATUS, call, closed_server, one_model
from tests.serving.model_server.fakes import eventually
from tests.serving.model_server.processes import free_ports

HASTY = RestLimits(header_bytes=8192, headers_s=0.4, leftover_s=0.4, read_s=1)
BODY = json.dumps({"instances": [1.0]}).encode()


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    return one_model(tmp_path_factory.mktemp("limits") / "m")


@pytest.fixture(scope="module")
def server(models):
    with closed_server(models, "--max_body_mb=1", "--max_connections=20", limits=HASTY) as server:
        yield server


def connected(server):
    return socket.create_connection(("127.0.0.1", server.rest_port), timeout=20)


def received(client):
    """All that comes until the server closes."""
    parts = []
    with contextlib.suppress(ConnectionError):
        while part := client.recv(65536):
            parts.append(part)
    return b"".join(parts)


def seconds_until_closed(client):
    began = time.monotonic()
    received(client)
    return time.monotonic() - began


@pytest.mark.parametrize(
    "head",
    [
        b"GET /v1/models HTTP/1.1\r\nhost: a\r\nx-big: " + b"a" * 9000 + b"\r\n\r\n",
        b"GET /v1/models HTTP/1.1\r\nhost: a\r\n" + b"".join(b"x-%d: a\r\n" % n for n in range(2000)) + b"\r\n",
        b"GET /" + b"a" * 9000 + b" HTTP/1.1\r\nhost: a\r\n\r\n",
        b"GET /v1/models HTTP/1.1\r\nhost: a\r\nx-endless: " + b"a" * 40_000,
    ],
    ids=["value", "number", "path", "endless"],
)
def test_headers_that_are_too_large_are_answered_431(server, head):
    with connected(server) as client:
        client.sendall(head)
        assert received(client).startswith(b"HTTP/1.1 431 ")
    assert server.rest()[0] == 200


def test_a_connection_that_never_asks_is_closed(server):
    with connected(server) as client:
        assert seconds_until_closed(client) < 10


def test_headers_that_come_byte_by_byte_are_not_waited_for(server):
    with connected(server) as client:
        began = time.monotonic()
        with contextlib.suppress(ConnectionError):
            while time.monotonic() - began < 10:
                client.sendall(b"GET /v1/models HTTP/1.1\r\nhost: a\r\nx: a"[:1])
                client.settimeout(0.05)
                with contextlib.suppress(TimeoutError):
                    if not client.recv(1):
                        break
        assert time.monotonic() - began < 5


def test_headers_of_a_second_request_are_not_waited_for_either(server):
    with connected(server) as client:
        client.sendall(b"GET /healthz HTTP/1.1\r\nhost: a\r\n\r\n")
        assert client.recv(65536).startswith(b"HTTP/1.1 200")
        client.sendall(b"GET /healthz HTTP/1.1\r\nhost")
        assert seconds_until_closed(client) < 0.9  # sooner than an idle connection


def test_a_body_that_does_not_come_is_answered_504_and_its_rest_is_not_waited_for(models):
    flags = ("--rest_api_timeout_in_ms=300", "--max_body_mb=1")
    with closed_server(models, *flags, limits=HASTY) as server, connected(server) as client:
        client.sendall(b"POST " + PATH.encode() + b" HTTP/1.1\r\nhost: a\r\ncontent-length: 900000\r\n\r\n{")
        assert client.recv(65536).startswith(b"HTTP/1.1 504 ")
        began = time.monotonic()
        with contextlib.suppress(ConnectionError):
            while time.monotonic() - began < 10:
                client.sendall(b" ")
                time.sleep(0.02)
        assert time.monotonic() - began < 5


def test_the_rest_of_a_body_that_was_refused_is_not_read_for_ever(server):
    with connected(server) as client:
        client.sendall(b"POST " + PATH.encode() + b" HTTP/1.1\r\nhost: a\r\ncontent-length: 99999999999\r\n\r\n{")
        assert client.recv(65536).startswith(b"HTTP/1.1 413 ")
        began = time.monotonic()
        with contextlib.suppress(ConnectionError):
            while time.monotonic() - began < 10:
                client.sendall(b" " * 1000)
                time.sleep(0.01)
        assert time.monotonic() - began < 5


def test_answers_that_nobody_reads_are_given_up(server, caplog):
    eventually(lambda: not server.connections)
    with socket.socket() as client:
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        client.settimeout(0.5)
        client.connect(("127.0.0.1", server.rest_port))
        asked = b"GET /openapi.json HTTP/1.1\r\nhost: a\r\n\r\n"
        with contextlib.suppress(TimeoutError):
            for _ in range(5000):
                client.sendall(asked)
        assert len(server.connections) == 1
        eventually(lambda: not server.connections)
    assert server.rest()[0] == 200
    assert "Exception" not in caplog.text


def test_a_client_that_does_all_in_time_keeps_its_connection(server):
    connection = http.client.HTTPConnection("127.0.0.1", server.rest_port, timeout=20)
    connection.connect()
    port = connection.sock.getsockname()[1]
    for _ in range(6):
        connection.request("POST", PATH, BODY)
        assert connection.getresponse().read()
        assert connection.sock.getsockname()[1] == port
        time.sleep(0.5)  # longer than headers may take, shorter than an idle connection may stay
    connection.close()


def test_more_connections_than_allowed_are_closed_and_the_others_go_on(server):
    held = [connected(server) for _ in range(20)]
    try:
        for client in held:
            client.sendall(b"GET /healthz HTTP/1.1\r\nhost: a\r\n\r\n")
        assert all(client.recv(65536).startswith(b"HTTP/1.1 200") for client in held)
        with connected(server) as one_more:
            with contextlib.suppress(ConnectionError):
                one_more.sendall(b"GET /healthz HTTP/1.1\r\nhost: a\r\n\r\n")
            assert received(one_more) == b""
        held[0].sendall(b"GET /healthz HTTP/1.1\r\nhost: a\r\n\r\n")
        assert held[0].recv(65536).startswith(b"HTTP/1.1 200")
    finally:
        for client in held:
            client.close()
    eventually(lambda: is_answered(server))


def is_answered(server):
    try:
        return server.rest()[0] == 200
    except (OSError, http.client.HTTPException):
        return False


def test_more_grpc_connections_than_allowed_are_refused(models):
    own = (("grpc.use_local_subchannel_pool", 1),)
    with closed_server(models, "--max_connections=3") as server, contextlib.ExitStack() as held:
        for _ in range(3):
            assert call(held.enter_context(server.channel(options=own)))[0] == grpc.StatusCode.OK
        with server.channel(options=own) as one_more:
            assert call(one_more, timeout_s=2)[0] in {grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED}


def test_grpc_connections_that_ask_nothing_make_room_for_others(models):
    with closed_server(models, "--max_connections=3", idle_s=0.5) as server, contextlib.ExitStack() as held:
        for _ in range(3):
            idle = held.enter_context(socket.create_connection(("127.0.0.1", server.port), timeout=20))
            idle.sendall(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + bytes([0, 0, 0, 4, 0, 0, 0, 0, 0]))
            assert idle.recv(65536)
        with server.channel(options=(("grpc.use_local_subchannel_pool", 1),)) as good:
            eventually(lambda: call(good, timeout_s=1)[0] == grpc.StatusCode.OK)


def test_bodies_and_messages_have_one_limit_also_unpacked(server):
    large, packed = b" " * 1_100_000, gzip.compress(b" " * 50_000_000)
    for body, headers in ((large, {}), (packed, {"content-encoding": "gzip"})):
        connection = http.client.HTTPConnection("127.0.0.1", server.rest_port, timeout=20)
        connection.request("POST", PATH, body, headers)
        assert connection.getresponse().status == 413
    with server.channel(options=[("grpc.max_send_message_length", -1)]) as channel:
        for compression in (grpc.Compression.NoCompression, grpc.Compression.Gzip):
            with pytest.raises(grpc.RpcError) as refusal:
                channel.unary_unary(PREDICT)(b"\0" * 50_000_000, timeout=20, compression=compression)
            assert refusal.value.code() == grpc.StatusCode.RESOURCE_EXHAUSTED


def test_grpc_metadata_has_a_limit(server):
    with server.channel() as channel, pytest.raises(grpc.RpcError) as refusal:
        channel.unary_unary(STATUS)(b"", timeout=20, metadata=(("x-big", "a" * 50_000),))
    assert refusal.value.code() == grpc.StatusCode.RESOURCE_EXHAUSTED


def test_grpc_requests_that_do_not_come_free_their_threads(models):
    port, sent = free_ports(1)[0], threading.Event()

    def stalled():
        sent.wait(30)
        return
        yield

    server = make_grpc_server(GrpcApi(models), f"127.0.0.1:{port}", 2, GrpcOptions(receive_s=0.5))
    server.start()
    try:
        with grpc.insecure_channel(f"127.0.0.1:{port}") as slow, grpc.insecure_channel(f"127.0.0.1:{port}") as other:
            stalling = [slow.stream_unary(PREDICT).future(stalled(), timeout=30) for _ in range(6)]
            assert call(other)[0] == grpc.StatusCode.OK
            assert {one.code() for one in stalling} == {grpc.StatusCode.CANCELLED}
            sent.set()
    finally:
        sent.set()
        server.stop(None).wait()


def test_a_grpc_call_has_exactly_one_request(server):
    with server.channel() as channel, pytest.raises(grpc.RpcError) as refusal:
        channel.stream_unary(PREDICT)(iter(()), timeout=20)
    assert refusal.value.code() == grpc.StatusCode.UNIMPLEMENTED
    with server.channel() as channel, pytest.raises(grpc.RpcError) as refusal:
        channel.unary_unary(PREDICT)(b"no message", timeout=20)
    assert refusal.value.code() == grpc.StatusCode.INTERNAL
