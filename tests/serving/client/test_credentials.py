"""What a client shows and trusts, from the environment, asked of a server whose doors are closed."""

import logging
from contextlib import closing

import pytest

from serving.client import connect
from serving.client.address import parse_address
from serving.client.credentials import CredentialsError, bearer_token, open_channel, tls_context
from serving.client.http import Http
from serving.client.observations import TrueLabel, read_observations, send_feedback
from serving.client.server_status import ServerStatus
from serving.client.tensorflow_serving_rest import is_available
from slipway.errors import InputError, UnavailableError
from tests.serving.client.servers import MlflowScoring, image, serving_http
from tests.serving.model_server.certificates import Authority, ssl_config
from tests.serving.model_server.closed_world import closed_server, give_token, one_model


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    return one_model(tmp_path_factory.mktemp("credentials") / "m")


@pytest.fixture(autouse=True)
def no_credentials(monkeypatch):
    for name in ("SLIPWAY_TOKEN", "SLIPWAY_TOKEN_FILE", "SLIPWAY_CA_FILE", "SLIPWAY_CERT_FILE"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    return tmp_path_factory.mktemp("doors")


@pytest.fixture(scope="module")
def token(place):
    return give_token(place / "tokens", "client")


@pytest.fixture(scope="module")
def other_token(place, token):
    return give_token(place / "tokens", "prometheus", "metrics")


@pytest.fixture(scope="module")
def closed(models, place, token, other_token):
    with closed_server(models, f"--access_tokens_file={place / 'tokens'}") as server:
        yield server


def ask_everything(rest, grpc):
    """Every client that Slipway has; the fake model takes no images, which it says when it has let us in."""
    for address in (rest, grpc):
        with closing(connect(address, "m", timeout_s=20)) as client, pytest.raises(InputError, match="serving_bytes"):
            client.predict([image(0)])
    with closing(ServerStatus(grpc, 20)) as status:
        assert status.versions("m")[1].is_available
        assert status.versions("unknown") == {}
    assert read_observations(rest, "m").model == "m"
    with Http(parse_address(rest), 20) as http:
        assert is_available(http, "m")[0]
    known = TrueLabel("1-none-0123456789abcdef", ("cat",))
    assert send_feedback(rest, [known]).unknown == (known.request_id,)


def addresses(server, secure=""):
    return f"http{secure}://127.0.0.1:{server.rest_port}", f"grpc{secure}://127.0.0.1:{server.port}"


def test_the_token_of_the_environment_opens_every_door(closed, token, monkeypatch):
    monkeypatch.setenv("SLIPWAY_TOKEN", token)
    ask_everything(*addresses(closed))


def test_a_token_in_a_file_is_read_each_time(closed, token, monkeypatch, tmp_path):
    file = tmp_path / "token"
    file.write_text(f"{token}\n")
    monkeypatch.setenv("SLIPWAY_TOKEN_FILE", str(file))
    rest, grpc = addresses(closed)
    with closing(ServerStatus(grpc, 20)) as status, Http(parse_address(rest), 20) as http:
        assert status.versions("m")
        assert http.get("/v1/models/m").status == 200
        file.write_text("another")
        assert http.get("/v1/models/m").status == 401
        with pytest.raises(CredentialsError, match="lets nobody in with this token"):
            status.versions("m")


@pytest.mark.parametrize("shown", ["none", "wrong", "under-scoped"])
def test_a_closed_door_is_neither_the_pictures_fault_nor_the_versions(
    closed, other_token, monkeypatch, shown, capfd, caplog
):
    """Reconcile takes InputError of a golden request for the version's failure: this must not be one."""
    caplog.set_level(logging.DEBUG)
    value = {"none": "", "wrong": "slipway_" + "w" * 43, "under-scoped": other_token}[shown]
    if value:
        monkeypatch.setenv("SLIPWAY_TOKEN", value)
    rest, grpc = addresses(closed)
    expected = "expected SLIPWAY_TOKEN in the environment" if shown == "none" else "lets nobody in with this token"
    asked = [lambda: connect(rest, "m"), lambda: connect(grpc, "m"), lambda: read_observations(rest, "m")]
    asked += [lambda: ServerStatus(grpc, 20).versions("m"), lambda: is_available(Http(parse_address(rest), 20), "m")]
    for ask in asked:
        with pytest.raises(UnavailableError, match=expected) as refusal:
            ask()
        assert not value or value not in str(refusal.value)
    assert not value or value not in "".join(capfd.readouterr()) + caplog.text


@pytest.mark.parametrize("text", ["two words", "line\nbreak", "t\u00f6ken", "tab\t"])
def test_what_cannot_be_a_token_is_refused_without_being_shown(monkeypatch, text):
    monkeypatch.setenv("SLIPWAY_TOKEN", text)
    with pytest.raises(CredentialsError, match=r"^SLIPWAY_TOKEN: is no token") as refusal:
        bearer_token()
    assert text not in str(refusal.value)


def test_a_server_without_doors_is_asked_with_a_token_all_the_same(models, monkeypatch):
    monkeypatch.setenv("SLIPWAY_TOKEN", "unneeded")
    with closed_server(models) as server:
        ask_everything(*addresses(server))


def test_mlflows_scoring_server_behind_a_door_is_said_to_be_closed():
    from starlette.responses import JSONResponse

    service = MlflowScoring()
    service.app.routes[-1].app = JSONResponse({"message": "who are you"}, 401)
    with (
        serving_http(service.app) as address,
        closing(connect(address, "pets")) as client,
        pytest.raises(CredentialsError, match="wants a token: who are you"),
    ):
        client.predict([image(0)])


@pytest.fixture(scope="module")
def authority():
    return Authority()


@pytest.fixture(scope="module")
def secure(models, authority, place, token):
    key, certificate = authority.issue("server")
    config = ssl_config(
        place / "ssl.config",
        server_key=key,
        server_cert=certificate,
        custom_ca=authority.pem,
        client_verify=True,
    )
    flags = (f"--ssl_config_file={config}", f"--access_tokens_file={place / 'tokens'}")
    with closed_server(models, *flags, authority=authority.pem) as server:
        yield server


@pytest.fixture
def own_files(authority, tmp_path):
    (tmp_path / "ca.pem").write_text(authority.pem)
    (tmp_path / "own.pem").write_text("".join(authority.issue("client")))
    return tmp_path / "ca.pem", tmp_path / "own.pem"


def test_certificates_and_token_together_open_every_door(secure, token, own_files, monkeypatch):
    monkeypatch.setenv("SLIPWAY_TOKEN", token)
    monkeypatch.setenv("SLIPWAY_CA_FILE", str(own_files[0]))
    monkeypatch.setenv("SLIPWAY_CERT_FILE", str(own_files[1]))
    ask_everything(*addresses(secure, "s"))


@pytest.mark.parametrize("missing", ["SLIPWAY_CA_FILE", "SLIPWAY_CERT_FILE"])
def test_without_a_certificate_there_is_no_answer(secure, token, own_files, monkeypatch, missing):
    for name, value in (
        ("SLIPWAY_TOKEN", token),
        ("SLIPWAY_CA_FILE", own_files[0]),
        ("SLIPWAY_CERT_FILE", own_files[1]),
    ):
        if name != missing:
            monkeypatch.setenv(name, str(value))
    rest, grpc = addresses(secure, "s")
    for address in (rest, grpc):
        with pytest.raises(UnavailableError):
            connect(address, "m", timeout_s=10)


def test_a_file_that_cannot_be_used_is_named_by_its_variable(tmp_path, monkeypatch, own_files):
    where = parse_address("grpcs://127.0.0.1:1")
    for variable, content, expected in (
        ("SLIPWAY_CA_FILE", None, "cannot be read"),
        ("SLIPWAY_CA_FILE", "nothing", "holds no certificate"),
        ("SLIPWAY_CERT_FILE", None, "cannot be read"),
        ("SLIPWAY_CERT_FILE", "nothing", "holds no certificate"),
    ):
        file = tmp_path / "file.pem"
        file.unlink(missing_ok=True)
        if content is not None:
            file.write_text(content)
        monkeypatch.setenv(variable, str(file))
        for use in (tls_context, lambda: open_channel(where, ())):
            with pytest.raises(CredentialsError, match=f"^{variable}={file}: {expected}"):
                use()
        monkeypatch.delenv(variable)
    monkeypatch.setenv("SLIPWAY_CERT_FILE", str(own_files[0]))  # a certificate without its key
    with pytest.raises(CredentialsError, match="expected a certificate and its key"):
        tls_context()
