"""Where the gRPC server listens and how it is set up: Unix sockets, TLS, channel arguments, deadlines."""

import socket
import threading
from contextlib import contextmanager

import grpc
import numpy as np
import pytest

from serving.model_server.grpc_api import GrpcApi
from serving.model_server.grpc_arguments import parse_channel_arguments
from serving.model_server.grpc_server import GrpcOptions, make_grpc_server
from serving.model_server.load_rules import LoadRules
from serving.model_server.models import Models
from serving.model_server.tls import Certificates
from serving.wire.predict_pb2 import PredictRequest, PredictResponse
from serving.wire.tensors import to_numpy, to_proto
from slipway.errors import InputError, UnavailableError
from tests.serving.model_server.certificates import Authority, ssl_config
from tests.serving.model_server.fakes import FakeLoads, eventually, put_version, settings, spec
from tests.serving.model_server.processes import free_ports


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    base = tmp_path_factory.mktemp("doors") / "m"
    put_version(base, 1, 1)
    models = Models(LoadRules(FakeLoads()))
    models.configure([settings(base)])
    eventually(models.ready)
    return models


@contextmanager
def serving(models, options=None, *, port=True, threads=4, **api):
    """A started server; gives its port, or 0."""
    number = free_ports(1)[0] if port else 0
    address = f"127.0.0.1:{number}" if port else ""
    server = make_grpc_server(GrpcApi(models, **api), address, threads, options or GrpcOptions())
    server.start()
    try:
        yield number
    finally:
        server.stop(None).wait()


def predict(channel, timeout_s=10.0, signature="", rows=2):
    request = PredictRequest(model_spec=spec())
    request.model_spec.signature_name = signature
    request.inputs["x"].CopyFrom(to_proto(np.zeros(rows, np.float32)))
    call = channel.unary_unary(
        "/tensorflow.serving.PredictionService/Predict",
        lambda message: message.SerializeToString(),
        PredictResponse.FromString,
    )
    return call(request, timeout=timeout_s)


def answer(channel):
    return to_numpy(predict(channel).outputs["y"]).tolist()


def refused(code):
    return pytest.raises(grpc.RpcError, check=lambda error: error.code() == code)


def test_a_unix_socket_serves_beside_the_port_or_alone(models, tmp_path):
    path = tmp_path / "grpc.sock"
    with serving(models, GrpcOptions(socket_path=str(path))) as port:
        for target in (f"unix:{path}", f"127.0.0.1:{port}"):
            with grpc.insecure_channel(target) as channel:
                assert answer(channel) == [1.0, 1.0]
    with (
        serving(models, GrpcOptions(socket_path=str(path)), port=False),
        grpc.insecure_channel(f"unix:{path}") as alone,
    ):
        assert answer(alone) == [1.0, 1.0]


def test_a_unix_socket_may_be_relative_to_where_the_server_started(models, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    options = GrpcOptions(socket_path="grpc.sock")
    with serving(models, options, port=False), grpc.insecure_channel(f"unix:{tmp_path}/grpc.sock") as channel:
        assert answer(channel) == [1.0, 1.0]


def test_the_socket_of_a_dead_server_is_replaced_and_that_of_a_living_one_is_not(models, tmp_path):
    path = str(tmp_path / "grpc.sock")
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as dead:
        dead.bind(path)
    with serving(models, GrpcOptions(socket_path=path), port=False):
        with pytest.raises(UnavailableError, match=r"--grpc_socket_path=.*: another server listens there"):
            make_grpc_server(GrpcApi(models), "", 1, GrpcOptions(socket_path=path))
        with grpc.insecure_channel(f"unix:{path}") as channel:
            assert answer(channel) == [1.0, 1.0]


def test_a_socket_path_that_cannot_be_bound_names_the_flag(models, tmp_path):
    with pytest.raises(UnavailableError, match=r"--grpc_socket_path=.*/none/grpc.sock: cannot listen"):
        make_grpc_server(GrpcApi(models), "", 1, GrpcOptions(socket_path=str(tmp_path / "none" / "grpc.sock")))


@pytest.fixture(scope="module")
def authority():
    return Authority()


def certificates(config):
    certificates = Certificates(config)
    certificates.file.start()
    return certificates


def secure(port, authority, key=None, certificate=None):
    credentials = grpc.ssl_channel_credentials(
        authority.pem.encode(), key and key.encode(), certificate and certificate.encode()
    )
    return grpc.secure_channel(f"127.0.0.1:{port}", credentials)


def test_tls_answers_who_trusts_its_authority_and_nobody_in_plain_text(models, authority, tmp_path):
    key, certificate = authority.issue("server")
    config = ssl_config(tmp_path / "ssl.config", server_key=key, server_cert=certificate)
    path = str(tmp_path / "grpc.sock")
    with serving(models, GrpcOptions(socket_path=path, credentials=certificates(config).grpc_credentials)) as port:
        with secure(port, authority) as channel:
            assert answer(channel) == [1.0, 1.0]
        for target in (f"127.0.0.1:{port}", f"unix:{path}"):
            with grpc.insecure_channel(target) as channel, refused(grpc.StatusCode.UNAVAILABLE):
                predict(channel)
        with secure(port, Authority()) as channel, refused(grpc.StatusCode.UNAVAILABLE):
            predict(channel)


def test_with_client_verify_a_client_needs_a_certificate_of_the_authority(models, authority, tmp_path):
    key, certificate = authority.issue("server")
    config = ssl_config(
        tmp_path / "ssl.config", server_key=key, server_cert=certificate, custom_ca=authority.pem, client_verify=True
    )
    with serving(models, GrpcOptions(credentials=certificates(config).grpc_credentials)) as port:
        with secure(port, authority, *authority.issue("client")) as channel:
            assert answer(channel) == [1.0, 1.0]
        for stranger in ((), Authority().issue("client")):
            with secure(port, authority, *stranger) as channel, refused(grpc.StatusCode.UNAVAILABLE):
                predict(channel)


def test_a_mistake_in_the_ssl_file_names_file_and_place(authority, tmp_path):
    key, certificate = authority.issue("server")
    other_key, _ = authority.issue("other")
    path = tmp_path / "ssl.config"
    for fields, expected in (
        ({"server_key": "/etc/key.pem", "server_cert": certificate}, "server_key: expected the PEM itself"),
        ({"server_key": key}, "server_cert: expected the PEM itself"),
        ({"server_key": key, "server_cert": certificate, "client_verify": True}, "custom_ca: expected the PEM itself"),
        ({"server_key": other_key, "server_cert": certificate}, "expected server_key to be the key of server_cert"),
    ):
        with pytest.raises(InputError, match=expected) as refusal:
            certificates(ssl_config(path, **fields))
        assert str(refusal.value).startswith(str(path))
        assert "PRIVATE" not in str(refusal.value).replace("BEGIN PRIVATE KEY-----\\n...", "")
    path.write_text('server_key: "a"\nserver_kex: "b"\n')
    with pytest.raises(InputError, match=r"line 2: .*SSLConfig"):
        certificates(path)


def test_channel_arguments_reach_grpc(models):
    arguments = parse_channel_arguments("grpc.max_receive_message_length=1000, grpc.primary_user_agent=slipway/1")
    assert arguments == [("grpc.max_receive_message_length", 1000), ("grpc.primary_user_agent", "slipway/1")]
    options = GrpcOptions(arguments=arguments)
    with serving(models, options) as port, grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
        predict(channel)
        with refused(grpc.StatusCode.RESOURCE_EXHAUSTED):
            predict(channel, rows=1000)


@pytest.mark.parametrize("text", ["grpc.max_connection_age_ms", "=5", "a=1,b"])
def test_a_channel_argument_without_key_or_value_is_refused(text):
    with pytest.raises(InputError, match=r"expected key=value, as grpc\.max_connection_age_ms=2000"):
        parse_channel_arguments(text)


def test_a_call_whose_deadline_passed_while_it_waited_is_not_run(models, monkeypatch):
    with models.acquire(spec()) as lease:
        runtime = lease.runtime
    ran = []
    original = runtime.run
    monkeypatch.setattr(runtime, "run", lambda name, *rest: (ran.append(name), original(name, *rest))[1])
    with serving(models, threads=1) as port, grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
        busy = threading.Thread(target=predict, args=(channel,), kwargs={"signature": "slow"})
        busy.start()
        eventually(lambda: ran == ["slow"])
        with refused(grpc.StatusCode.DEADLINE_EXCEEDED):
            predict(channel, timeout_s=0.3)
        busy.join()
        predict(channel)
    assert ran == ["slow", "serving_default"]


def test_numbers_are_answered_as_tensor_content_when_the_flag_says_so(models):
    with serving(models, tensor_content=True) as port, grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
        found = predict(channel).outputs["y"]
        assert found.tensor_content == np.ones(2, np.float32).tobytes()
        assert not found.float_val
