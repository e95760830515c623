"""The server as a process with its doors closed: what it listens on, who gets in, and where no token is to be found."""

import http.client
import json
import logging
import struct
import zlib
from base64 import b64encode
from pathlib import Path

import grpc
import numpy as np
import psutil
import pytest

from serving.model_server.access_tokens import read_tokens
from serving.model_server.door_files import read_door_files
from serving.model_server.flag_parsing import parse_flags
from serving.wire.model_management_pb2 import ReloadConfigRequest
from tests.serving.model_server.closed_world import PREDICT, RELOAD, call, give_token
from tests.serving.model_server.fakes import eventually
from tests.serving.model_server.processes import model_server
from tests.serving.model_server.servables import png, publish_servable

pytestmark = pytest.mark.integration
METRICS = "/monitoring/prometheus/metrics"
SECRET_FORMS = (lambda token: token, lambda token: b64encode(token.encode()).decode())


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    """A server with a token of each scope, and all that it writes below one folder."""
    folder = tmp_path_factory.mktemp("closed")
    publish_servable(folder / "m", 1, {"onnx-fp32": 90.0})
    (folder / "monitoring.config").write_text("prometheus_config { enable: true }")
    tokens = {scope: give_token(folder / "tokens", f"of-{scope}", scope) for scope in ("predict", "metrics", "admin")}
    flags = (
        *(f"--model_base_path={folder / 'm'}", "--model_name=m", "--runtime=onnxruntime"),
        *(f"--access_tokens_file={folder / 'tokens'}", f"--access_log={folder / 'access.log'}"),
        *(f"--monitoring_config_file={folder / 'monitoring.config'}", f"--grpc_socket_path={folder / 'grpc.sock'}"),
    )
    with model_server(folder / "server.log", *flags) as server:
        server.wait_ready()
        yield server, tokens, folder


def ask(server, token, method, path, document=None):
    connection = http.client.HTTPConnection("127.0.0.1", server.rest_port, timeout=30)
    body = None if document is None else json.dumps(document)
    connection.request(method, path, body, {} if token is None else {"Authorization": f"Bearer {token}"})
    response = connection.getresponse()
    text = response.read().decode()
    connection.close()
    return response.status, text


def instances(*pictures):
    rows = [{"image_bytes": {"b64": b64encode(picture).decode()}} for picture in pictures]
    return {"signature_name": "serving_bytes", "instances": rows}


def claimed_png(height, width):
    """A PNG of a few bytes that says it is of that size."""

    def chunk(kind, data):
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"")) + chunk(b"IEND", b"")


def test_it_listens_on_this_machine_alone_and_nobody_gets_in_without_a_token(world):
    server, _, folder = world
    listening = {
        each.laddr for each in psutil.Process(server.process.pid).net_connections() if each.status == psutil.CONN_LISTEN
    }
    assert {address.port for address in listening} == {server.port, server.rest_port}
    assert {address.ip.removeprefix("::ffff:") for address in listening} == {"127.0.0.1"}  # gRPC has IPv4 inside IPv6
    assert ask(server, None, "POST", "/v1/models/m:predict", instances())[0] == 401
    assert ask(server, None, "GET", METRICS)[0] == 401
    assert ask(server, None, "GET", "/healthz")[0] == 200
    for target in (server.address, f"unix:{folder / 'grpc.sock'}"):
        with grpc.insecure_channel(target) as channel:
            assert call(channel, PREDICT)[0] == grpc.StatusCode.UNAUTHENTICATED
            assert channel.unary_unary("/grpc.health.v1.Health/Check")(b"", timeout=20) == b"\x08\x01"


def test_a_picture_that_would_fill_the_memory_is_refused_by_its_header(world):
    server, tokens, _ = world
    picture = png(np.zeros((6, 4, 3), np.uint8))
    assert ask(server, tokens["predict"], "POST", "/v1/models/m:predict", instances(picture))[0] == 200
    before = psutil.Process(server.process.pid).memory_info().rss
    for height, width in ((30_000, 30_000), (1, 2_000_000_000)):
        bomb = claimed_png(height, width)
        status, text = ask(server, tokens["predict"], "POST", "/v1/models/m:predict", instances(picture, bomb))
        assert status == 400
        assert f"image has {height * width} pixels, over the limit of " in text
    assert psutil.Process(server.process.pid).memory_info().rss - before < 200e6


def test_only_an_admin_changes_what_is_served(world):
    server, tokens, folder = world
    wanted = ReloadConfigRequest()
    model = wanted.config.model_config_list.config.add()
    model.name, model.base_path, model.model_platform = "m", str(folder / "m"), "tensorflow"

    def reload(token):
        with grpc.insecure_channel(server.address) as channel:
            metadata = (("authorization", f"Bearer {token}"),)
            channel.unary_unary(RELOAD)(wanted.SerializeToString(), timeout=60, metadata=metadata)

    for scope in ("predict", "metrics"):
        with pytest.raises(grpc.RpcError) as refusal:
            reload(tokens[scope])
        assert refusal.value.code() == grpc.StatusCode.PERMISSION_DENIED
    reload(tokens["admin"])
    eventually(lambda: "of-admin" in (folder / "access.log").read_text().splitlines()[-1])


def test_no_token_is_in_logs_metrics_command_lines_files_or_reprs(world, caplog):
    caplog.set_level(logging.DEBUG)
    server, tokens, folder = world
    wrong = "slipway_" + "w" * 43
    for token in (*tokens.values(), wrong):
        for method, path in (("POST", "/v1/models/m:predict"), ("GET", METRICS), ("GET", f"/x?token={token}")):
            ask(server, token, method, path, instances() if method == "POST" else None)
        with grpc.insecure_channel(server.address) as channel:
            call(channel, PREDICT, token)
    page = ask(server, tokens["metrics"], "GET", METRICS)[1]
    flags = parse_flags(["--model_base_path=/m", f"--access_tokens_file={folder / 'tokens'}"])
    files = read_door_files(flags)
    shown = {
        "log": server.log,
        "metrics": page,
        "command line": Path(f"/proc/{server.process.pid}/cmdline").read_text(),
        "reprs": repr((flags, files, files.access, vars(files.access), read_tokens(folder / "tokens"))),
        "log of this process": caplog.text,
        **{str(file): file.read_text() for file in (folder / "tokens", folder / "access.log")},
    }
    assert 'slipway_requests_denied_total{api="REST",reason="unknown"}' in page
    assert all(shown[place] for place in shown if place != "log of this process")
    for token in (*tokens.values(), wrong):
        for form in SECRET_FORMS:
            assert not [place for place, text in shown.items() if form(token) in text]


def test_it_refuses_to_listen_for_others_before_it_loads_anything(world, tmp_path):
    folder = world[2]
    flags = (f"--model_base_path={folder / 'm'}", "--model_name=m", "--host=0.0.0.0")
    with model_server(tmp_path / "log", *flags) as server:
        assert server.process.wait(60) == 2
        assert server.log.startswith("error: --host=0.0.0.0: others than this machine reach it")
        assert server.log.count("\n") == 1
