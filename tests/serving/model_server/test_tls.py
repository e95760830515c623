"""TLS on both ports with one file: certificates that are replaced while requests go on, and clients' certificates."""

import logging
import re
import socket
import ssl
import stat
import threading
from pathlib import Path

import grpc
import pytest

from tests.serving.model_server.certificates import Authority, ssl_config
from tests.serving.model_server.closed_world import call, closed_server, give_token, one_model, predict_over
from tests.serving.model_server.fakes import eventually

PAGE = Path(__file__).parents[3] / "docs" / "closed-doors.md"


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    return one_model(tmp_path_factory.mktemp("tls") / "m")


@pytest.fixture(scope="module")
def authority():
    return Authority()


def write_config(path, authority, name="server", **more):
    key, certificate = authority.issue(name)
    return ssl_config(path, server_key=key, server_cert=certificate, **more)


def shown(port, authority):
    """The name in the certificate that the port shows."""
    context = ssl.create_default_context(cadata=authority.pem)
    with (
        socket.create_connection(("127.0.0.1", port), timeout=10) as plain,
        context.wrap_socket(plain, server_hostname="127.0.0.1") as secure,
    ):
        return dict(pair[0] for pair in secure.getpeercert()["subject"])["commonName"]


def test_rest_and_grpc_speak_tls_and_nothing_else(models, authority, tmp_path):
    config = write_config(tmp_path / "ssl.config", authority)
    with closed_server(models, f"--ssl_config_file={config}", authority=authority.pem) as server:
        assert server.rest()[0] == 200
        assert server.grpc()[0] == grpc.StatusCode.OK
        with socket.create_connection(("127.0.0.1", server.rest_port), timeout=10) as plain:
            plain.sendall(b"GET /healthz HTTP/1.1\r\nhost: a\r\n\r\n")
            assert b"HTTP" not in plain.recv(65536)
        with grpc.insecure_channel(f"127.0.0.1:{server.port}") as channel:
            assert call(channel)[0] == grpc.StatusCode.UNAVAILABLE


def test_a_new_certificate_is_shown_to_new_connections_and_no_request_fails(models, authority, tmp_path):
    config, socket_path = write_config(tmp_path / "ssl.config", authority, "first"), tmp_path / "grpc.sock"
    failures, asked, stop = [], [0], threading.Event()

    def ask_anew(server):
        """A connection a request, and one that stays."""
        kept = server.connect()
        with server.channel() as channel:
            while not stop.is_set():
                try:
                    kept.request("GET", "/healthz")
                    assert kept.getresponse().read()
                    assert server.rest()[0] == 200
                    predict_over(channel)
                    with server.channel() as fresh:
                        predict_over(fresh)
                except Exception as error:  # noqa: BLE001 - whatever it is, a request failed
                    failures.append(error)
                asked[0] += 1

    flags = (f"--ssl_config_file={config}", f"--grpc_socket_path={socket_path}")
    with closed_server(models, *flags, authority=authority.pem) as server:
        thread = threading.Thread(target=ask_anew, args=(server,))
        thread.start()
        try:
            for name in ("second", "third"):
                eventually(lambda: asked[0] or failures)
                asked[0] = 0
                write_config(config, authority, name)
                server.look()
                for port in (server.rest_port, server.port):
                    assert shown(port, authority) == name
                options = [("grpc.ssl_target_name_override", "localhost")]
                with server.channel(f"unix:{socket_path}", options=options) as channel:
                    predict_over(channel)
            eventually(lambda: asked[0] or failures)
        finally:
            stop.set()
            thread.join()
    assert not failures


def test_a_broken_file_keeps_the_old_certificate_and_says_so_once(models, authority, tmp_path, caplog):
    caplog.set_level(logging.INFO)
    config = write_config(tmp_path / "ssl.config", authority, "first")
    with closed_server(models, f"--ssl_config_file={config}", authority=authority.pem) as server:
        good = config.read_text()
        other_key = authority.issue("other")[0]
        for bad in ("server_key: ", good.replace("server_key", "server_kex"), None):
            config.unlink() if bad is None else config.write_text(bad)
            server.look()
            server.look()
            assert shown(server.rest_port, authority) == shown(server.port, authority) == "first"
        ssl_config(config, server_key=other_key, server_cert=authority.issue("second")[1])
        server.look()
        assert shown(server.rest_port, authority) == "first"
        assert caplog.text.count("What was in effect before stays.") == 4
        write_config(config, authority, "second", client_verify=True, custom_ca=authority.pem)
        server.look()
        assert "client_verify is another one now, which takes a new start" in caplog.text
        write_config(config, authority, "second")
        server.look()
        assert shown(server.rest_port, authority) == shown(server.port, authority) == "second"
        assert server.rest()[0] == 200
    assert "PRIVATE KEY" not in caplog.text


def in_one_file(path, pair):
    path.write_text("".join(pair))
    return path


def test_clients_need_a_certificate_of_the_authority_on_both_ports(models, authority, tmp_path):
    config = write_config(tmp_path / "ssl.config", authority, custom_ca=authority.pem, client_verify=True)
    own = in_one_file(tmp_path / "own.pem", authority.issue("client"))
    strange = in_one_file(tmp_path / "strange.pem", Authority().issue("client"))
    with closed_server(models, f"--ssl_config_file={config}", authority=authority.pem) as server:
        for certificate, is_let_in in ((own, True), (strange, False), (None, False)):
            connection = server.connect(certificate)
            try:
                connection.request("GET", "/healthz")
                found = connection.getresponse().status == 200
            except OSError:
                found = False
            assert found is is_let_in
            with server.channel(certificate=certificate and certificate.read_bytes()) as channel:
                assert (call(channel)[0] == grpc.StatusCode.OK) is is_let_in


def test_clients_are_trusted_by_the_authority_that_the_file_names_now(models, authority, tmp_path):
    config = write_config(tmp_path / "ssl.config", authority, custom_ca=authority.pem, client_verify=True)
    other = Authority()
    old = in_one_file(tmp_path / "old.pem", authority.issue("client"))
    new = in_one_file(tmp_path / "new.pem", other.issue("client"))
    with closed_server(models, f"--ssl_config_file={config}", authority=authority.pem) as server:
        write_config(config, authority, custom_ca=other.pem, client_verify=True)
        server.look()
        for certificate, is_let_in in ((new, True), (old, False)):
            connection = server.connect(certificate)
            try:
                connection.request("GET", "/healthz")
                found = connection.getresponse().status == 200
            except OSError:
                found = False
            assert found is is_let_in
            with server.channel(certificate=certificate.read_bytes()) as channel:
                assert (call(channel)[0] == grpc.StatusCode.OK) is is_let_in


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_no_session_outlives_the_authority_that_it_was_verified_by(models, authority, tmp_path, version):
    config = write_config(tmp_path / "ssl.config", authority, custom_ca=authority.pem, client_verify=True)
    context = ssl.create_default_context(cadata=authority.pem)
    context.maximum_version = version
    context.load_cert_chain(in_one_file(tmp_path / "old.pem", authority.issue("client")))

    def answered(port, session):
        """What the port answers to a client that would go on with that session, and the session then."""
        try:
            with (
                socket.create_connection(("127.0.0.1", port), timeout=10) as plain,
                context.wrap_socket(plain, server_hostname="127.0.0.1", session=session) as secure,
            ):
                secure.sendall(b"GET /healthz HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n")
                return secure.recv(65536)[:12], secure.session
        except OSError:
            return b"", None

    with closed_server(models, f"--ssl_config_file={config}", authority=authority.pem) as server:
        first, session = answered(server.rest_port, None)
        assert first == b"HTTP/1.1 200"
        assert answered(server.rest_port, session)[0] == b"HTTP/1.1 200"
        write_config(config, authority, custom_ca=Authority().pem, client_verify=True)
        server.look()
        assert answered(server.rest_port, session)[0] == b""
        write_config(config, authority, custom_ca=authority.pem, client_verify=True)
        server.look()
        assert answered(server.rest_port, session)[0] == b"HTTP/1.1 200"


def test_tokens_are_asked_for_over_tls_too(models, authority, tmp_path):
    config, file = write_config(tmp_path / "ssl.config", authority), tmp_path / "tokens"
    token = give_token(file, "one")
    flags = (f"--ssl_config_file={config}", f"--access_tokens_file={file}")
    with closed_server(models, *flags, authority=authority.pem) as server:
        assert (server.rest()[0], server.rest(token=token)[0]) == (401, 200)
        assert (server.grpc()[0], server.grpc(token=token)[0]) == (grpc.StatusCode.UNAUTHENTICATED, grpc.StatusCode.OK)


def test_the_program_on_the_page_writes_what_the_server_reads(models, authority, tmp_path):
    (program,) = re.findall(r"^```python\n(.*?)^```$", PAGE.read_text(), re.MULTILINE | re.DOTALL)
    names = {}
    exec(program, names)
    key, certificate = authority.issue("server")
    (tmp_path / "tls.key").write_text(key)
    (tmp_path / "tls.crt").write_text(certificate + authority.pem)
    config = tmp_path / "ssl.config"
    names["write_ssl_config"](config, tmp_path / "tls.key", tmp_path / "tls.crt")
    assert stat.S_IMODE(config.stat().st_mode) == 0o600
    with closed_server(models, f"--ssl_config_file={config}", authority=authority.pem) as server:
        assert (server.rest()[0], server.grpc()[0]) == (200, grpc.StatusCode.OK)
