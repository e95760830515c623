"""The HTTP connection: kept alive, bounded in time, and every failure an error that names the address."""

import socket
import ssl
import subprocess
import sys
import threading
from contextlib import closing, contextmanager

import pytest
from starlette.applications import Starlette
from starlette.responses import JSONResponse
from starlette.routing import Route

from serving.client import RejectedError, connect
from slipway.errors import InputError, UnavailableError
from tests.serving.client.servers import (
    TensorFlowServing,
    TensorFlowServingGrpc,
    image,
    not_found,
    serving_grpc,
    serving_http,
)


def test_one_connection_serves_many_requests():
    """The connection is kept alive between predictions."""
    service = TensorFlowServing()
    with serving_http(service.app) as address, closing(connect(address, "pets")) as client:
        for _ in range(3):
            client.predict([image(0)])
    assert len(service.connections) == 1


def test_a_connection_that_the_server_closed_is_opened_again():
    """A server may close an idle connection; the next prediction succeeds all the same."""
    service = TensorFlowServing()
    with serving_http(service.app, timeout_keep_alive=0) as address, closing(connect(address, "pets")) as client:
        for _ in range(3):
            assert client.predict([image(1)])[0].label == "dog"
            threading.Event().wait(0.2)


@pytest.mark.parametrize("scheme", ["http", "grpc"])
def test_nothing_there_is_unavailable(scheme):
    """A refused connection names the address and how to start a server."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        port = listening.getsockname()[1]
    with pytest.raises(UnavailableError, match=rf"{scheme}://127\.0\.0\.1:{port}.*`slipway serve`"):
        connect(f"{scheme}://127.0.0.1:{port}", "pets", timeout_s=5)


@pytest.mark.parametrize("scheme", ["http", "grpc"])
def test_a_silent_server_is_given_up_after_the_time_out(scheme):
    """A server that accepts and says nothing does not hang the client."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        port = listening.getsockname()[1]
        with pytest.raises(UnavailableError, match=rf"127\.0\.0\.1:{port} did not answer within 0\.3 s.*ask again"):
            connect(f"{scheme}://127.0.0.1:{port}", "pets", timeout_s=0.3)


def test_a_slow_prediction_is_given_up_after_the_time_out():
    """The time-out holds for predictions, over REST and gRPC."""
    rest = TensorFlowServing()
    with serving_http(rest.app) as address, closing(connect(address, "pets", timeout_s=0.5)) as client:
        rest.delay_s = 3
        with pytest.raises(UnavailableError, match=r"within 0\.5 s"):
            client.predict([image(0)])
    service = TensorFlowServingGrpc()
    with serving_grpc(service) as address, closing(connect(address, "pets", timeout_s=0.5)) as client:
        service.delay.clear()
        with pytest.raises(UnavailableError, match=r"within 0\.5 s"):
            client.predict([image(0)])
        service.delay.set()


def test_http_to_a_grpc_port_suggests_grpc():
    """The likeliest mistake with two ports gets its own remedy."""
    with serving_grpc(TensorFlowServingGrpc()) as address, pytest.raises(UnavailableError, match=f"write {address}"):
        connect(address.replace("grpc", "http"), "pets", timeout_s=5)


def test_another_kind_of_server_is_recognised_as_neither():
    """An address that answers, but as no model server does, says what was asked and what came."""
    app = Starlette(routes=[Route("/{path:path}", not_found)])
    with (
        serving_http(app) as address,
        pytest.raises(InputError, match=r"neither as TensorFlow Serving \(GET /v1/models/pets gave HTTP 404\)"),
    ):
        connect(address, "pets")


@pytest.mark.parametrize(("status", "kind"), [(413, RejectedError), (429, UnavailableError), (503, UnavailableError)])
def test_a_failure_carries_the_servers_words(status, kind):
    """What may pass later is UnavailableError, what will not is RejectedError; both quote the server."""
    model_status = JSONResponse({"model_version_status": []})
    app = Starlette(
        routes=[
            Route("/v1/models/pets", lambda _: model_status),
            Route("/v1/models/pets:predict", lambda _: JSONResponse({"error": "too much"}, status), methods=["POST"]),
        ]
    )
    with (
        serving_http(app) as address,
        closing(connect(address, "pets")) as client,
        pytest.raises(kind, match="too much"),
    ):
        client.predict([image(0)])


def test_an_unknown_host_is_named():
    """A name that does not resolve is said to be unknown."""
    with pytest.raises(UnavailableError, match=r"no-such-host\.invalid:8501: unknown host"):
        connect("no-such-host.invalid:8501", "pets", timeout_s=5)


@contextmanager
def certificate(folder):
    key, chain = folder / "key.pem", folder / "cert.pem"
    subprocess.run(
        [
            *("openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"),
            *("-keyout", key, "-out", chain, "-days", "2", "-subj", "/CN=localhost"),
            *("-addext", "subjectAltName=IP:127.0.0.1"),
        ],
        check=True,
        capture_output=True,
    )
    yield key, chain


def test_https_is_verified(tmp_path, monkeypatch):
    """A certificate that this machine trusts serves; another is refused by name."""
    service = TensorFlowServing()
    with (
        certificate(tmp_path) as (key, chain),
        serving_http(service.app, ssl_keyfile=key, ssl_certfile=chain) as address,
    ):
        secure = address.replace("http", "https")
        with pytest.raises(UnavailableError, match=rf"{secure}: TLS failed: self-signed certificate"):
            connect(secure, "pets", timeout_s=5)
        monkeypatch.setenv(ssl.get_default_verify_paths().openssl_cafile_env, str(chain))
        with closing(connect(secure, "pets", timeout_s=5)) as client:
            assert client.predict([image(0)])[0].label == "cat"


def test_a_path_before_the_api_is_kept():
    """A model server behind a proxy's path is reached below that path."""
    service = TensorFlowServing()
    service.app.routes[:] = [Route("/pets-api/v1/models/{name:path}", service.status)]
    with serving_http(service.app) as address:
        connect(f"{address}/pets-api/", "pets").close()


def test_a_refusal_before_the_body_was_read_is_heard():
    """A server may answer 413 and close while we still send."""
    status = b'HTTP/1.1 200 OK\r\nContent-Length: 28\r\n\r\n{"model_version_status": []}'
    refusal = b'HTTP/1.1 413 Too Large\r\nConnection: close\r\nContent-Length: 20\r\n\r\n{"error": "too big"}'

    def serve(listening):
        connection, _ = listening.accept()
        with connection:
            connection.recv(4096)
            connection.sendall(status)
            connection.recv(4096)
            connection.sendall(refusal)
            connection.shutdown(socket.SHUT_WR)

    with socket.create_server(("127.0.0.1", 0)) as listening:
        threading.Thread(target=serve, args=(listening,), daemon=True).start()
        address = f"127.0.0.1:{listening.getsockname()[1]}"
        with closing(connect(address, "pets", timeout_s=5)) as client, pytest.raises(RejectedError, match="too big"):
            client.predict([image(0, padding=8 << 20)])


def test_nothing_heavy_is_imported_before_it_is_needed():
    """A command's --help may import the client and the targets."""
    program = "import serving.client, serving.targets.process, sys; print(*sys.modules)"
    modules = subprocess.run([sys.executable, "-c", program], check=True, capture_output=True, text=True).stdout.split()
    assert not {"tensorflow", "mlflow", "grpc", "numpy", "starlette"} & set(modules)
