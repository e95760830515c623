"""Who is let in: tokens, scopes and probes, over REST, gRPC and the Unix socket."""

import json
import logging
import threading
import time

import grpc
import pytest

from serving.model_server.access import TO_PREDICT, Access, DeniedError
from serving.model_server.access_tokens import remove_token
from tests.serving.model_server.closed_world import (
    PATH,
    PREDICT,
    RELOAD,
    STATUS,
    closed_server,
    give_token,
    one_model,
    predict_over,
)
from tests.serving.model_server.fakes import eventually

METRICS = "/monitoring/prometheus/metrics"
HEALTH = "/grpc.health.v1.Health/Check"
OK, UNAUTHENTICATED, DENIED = grpc.StatusCode.OK, grpc.StatusCode.UNAUTHENTICATED, grpc.StatusCode.PERMISSION_DENIED


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    return one_model(tmp_path_factory.mktemp("closed") / "m")


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    return tmp_path_factory.mktemp("doors")


@pytest.fixture(scope="module")
def tokens(place):
    """A token of each scope, one that expired, and one that nobody has."""
    file = place / "tokens"
    return {
        "predict": give_token(file, "website"),
        "metrics": give_token(file, "prometheus", "metrics"),
        "admin": give_token(file, "operator", "admin"),
        "expired": give_token(file, "intern", "predict", "admin", "metrics", expires="2020-01-01"),
        "unknown": "slipway_" + "x" * 43,
        "none": None,
    }


@pytest.fixture(scope="module")
def server(models, place, tokens):
    monitoring = place / "monitoring.config"
    monitoring.write_text("prometheus_config { enable: true }")
    flags = (f"--access_tokens_file={place / 'tokens'}", f"--monitoring_config_file={monitoring}")
    flags += (f"--grpc_socket_path={place / 'grpc.sock'}", f"--access_log={place / 'access.log'}")
    with closed_server(models, *flags) as server:
        yield server


NOBODY = {"none": 401, "unknown": 401, "expired": 401}


@pytest.mark.parametrize(
    ("method", "path", "expected"),
    [
        ("POST", PATH, {"predict": 200, "metrics": 403, "admin": 403} | NOBODY),
        ("POST", "/v1/models/m/versions/1:predict", {"predict": 200, "metrics": 403, "admin": 403} | NOBODY),
        ("POST", "/v1/models/m:explain", {"predict": 501, "metrics": 403, "admin": 403} | NOBODY),
        ("POST", "/v1/feedback", {"predict": 400, "metrics": 403, "admin": 403} | NOBODY),
        ("GET", "/v1/models/m", {"predict": 200, "metrics": 403, "admin": 200} | NOBODY),
        ("HEAD", "/v1/models/m", {"predict": 400, "metrics": 403, "admin": 400} | NOBODY),
        ("GET", "/v1/models/m/metadata", {"predict": 200, "metrics": 403, "admin": 200} | NOBODY),
        ("GET", "/v1/models/m/observations", {"predict": 200, "metrics": 403, "admin": 200} | NOBODY),
        ("GET", "/v1/models", {"predict": 200, "metrics": 403, "admin": 200} | NOBODY),
        ("GET", "/openapi.json", {"predict": 200, "metrics": 403, "admin": 200} | NOBODY),
        ("GET", "/nothing", {"predict": 404, "metrics": 403, "admin": 404} | NOBODY),
        ("DELETE", "/v1/models/m", {"predict": 400, "metrics": 403, "admin": 403} | NOBODY),
        ("GET", METRICS, {"predict": 403, "metrics": 200, "admin": 403} | NOBODY),
        ("GET", METRICS.replace("m", "%6d"), {"predict": 403, "metrics": 200, "admin": 403} | NOBODY),
        ("GET", f"{METRICS}?x=1", {"predict": 403, "metrics": 200, "admin": 403} | NOBODY),
        ("GET", "/healthz", dict.fromkeys(("predict", "metrics", "admin", *NOBODY), 200)),
        ("GET", "/livez", dict.fromkeys(("predict", "metrics", "admin", *NOBODY), 200)),
        ("GET", "/%68ealthz", {"predict": 404, "metrics": 403, "admin": 404} | NOBODY),
        ("POST", "/healthz", {"predict": 404, "metrics": 403, "admin": 403} | NOBODY),
    ],
)
def test_a_rest_path_needs_a_token_of_its_scope(server, tokens, method, path, expected):
    assert {name: server.rest(method, path, tokens[name])[0] for name in expected} == expected


@pytest.mark.parametrize("target", ["", "unix"])
@pytest.mark.parametrize(
    ("method", "expected"),
    [
        (PREDICT, {"predict": OK, "metrics": DENIED, "admin": DENIED}),
        (STATUS, {"predict": grpc.StatusCode.INVALID_ARGUMENT, "metrics": DENIED}),
        (STATUS, {"admin": grpc.StatusCode.INVALID_ARGUMENT}),
        ("/tensorflow.serving.PredictionService/GetModelMetadata", {"admin": grpc.StatusCode.INVALID_ARGUMENT}),
        ("/tensorflow.serving.PredictionService/Classify", {"metrics": DENIED, "admin": DENIED}),
        ("/tensorflow.serving.PredictionService/Regress", {"metrics": DENIED, "admin": DENIED}),
        ("/tensorflow.serving.PredictionService/MultiInference", {"metrics": DENIED, "admin": DENIED}),
        (RELOAD, {"predict": DENIED, "metrics": DENIED, "admin": grpc.StatusCode.INVALID_ARGUMENT}),
    ],
)
def test_a_grpc_method_needs_a_token_of_its_scope(server, tokens, place, method, expected, target):
    where = f"unix:{place / 'grpc.sock'}" if target else None
    found = {name: server.grpc(method, tokens[name], where)[0] for name in expected}
    assert found == expected
    assert {server.grpc(method, tokens[name], where)[0] for name in NOBODY} == {UNAUTHENTICATED}


def test_grpcs_health_is_told_to_everybody(server):
    assert server.grpc(HEALTH)[0] == OK


def test_a_denial_says_why_and_what_is_wanted(server, tokens):
    for name, challenge, words in (
        ("none", "Bearer", "send the header Authorization: Bearer TOKEN"),
        ("unknown", 'Bearer error="invalid_token"', "not known here"),
        ("expired", 'Bearer error="invalid_token"', "Token intern expired on 2020-01-01"),
        ("metrics", 'Bearer error="insufficient_scope", scope="predict"', "Token prometheus is for metrics"),
    ):
        status, headers, text = server.rest(token=tokens[name])
        assert headers["WWW-Authenticate"].startswith(challenge)
        assert words in json.loads(text)["error"]
        assert status == (403 if name == "metrics" else 401)
        metadata = server.grpc(PREDICT, tokens[name])[1]
        assert metadata["www-authenticate"] == headers["WWW-Authenticate"]
        for place in (text, str(headers), str(metadata)):
            assert not tokens[name] or tokens[name] not in place


@pytest.mark.parametrize("value", ["", "Bearer", "Bearer ", "Basic {}", "{}", "Bearer {}x", "bearer  x {}"])
def test_what_is_no_bearer_token_lets_nobody_in(server, tokens, value):
    header = {"Authorization": value.format(tokens["predict"])}
    assert server.rest(headers=header)[0] == 401


@pytest.mark.parametrize("value", ["bearer {}", "BEARER {}", "Bearer  {} "])
def test_the_schemes_name_may_be_written_in_any_case(server, tokens, value):
    assert server.rest(headers={"Authorization": value.format(tokens["predict"])})[0] == 200


def test_denials_are_counted_by_api_and_reason(models, tmp_path):
    file, monitoring = tmp_path / "tokens", tmp_path / "monitoring.config"
    monitoring.write_text("prometheus_config { enable: true }")
    metrics, expired = give_token(file, "prometheus", "metrics"), give_token(file, "old", expires="2020-01-01")
    flags = (f"--access_tokens_file={file}", f"--monitoring_config_file={monitoring}")
    with closed_server(models, *flags) as server:
        for token in (None, "unknown", "unknown", expired, metrics):
            server.rest(token=token)
            server.grpc(PREDICT, token)
        page = server.rest("GET", METRICS, metrics)[2]
    for api in ("REST", "GRPC"):
        for reason, times in {"missing": 1, "unknown": 2, "expired": 1, "scope": 1}.items():
            assert f'slipway_requests_denied_total{{api="{api}",reason="{reason}"}} {times}.0' in page
    assert metrics not in page
    assert expired not in page


def test_a_token_is_let_in_and_out_while_requests_go_on(models, tmp_path):
    file = tmp_path / "tokens"
    kept = give_token(file, "kept")
    failures, stop = [], threading.Event()

    def ask(server):
        with server.channel() as channel:
            while not stop.is_set():
                status = server.rest(token=kept)[0]
                if status != 200:
                    failures.append(status)
                try:
                    predict_over(channel, kept)
                except grpc.RpcError as error:
                    failures.append(error)

    with closed_server(models, f"--access_tokens_file={file}") as server:
        asking = [threading.Thread(target=ask, args=(server,)) for _ in range(2)]
        for thread in asking:
            thread.start()
        try:
            for number in range(5):
                guest = give_token(file, f"guest-{number}")
                server.look()
                assert server.rest(token=guest)[0] == 200
                remove_token(file, f"guest-{number}")
                server.look()
                assert server.rest(token=guest)[0] == 401
                assert server.grpc(PREDICT, guest)[0] == UNAUTHENTICATED
        finally:
            stop.set()
            for thread in asking:
                thread.join()
    assert not failures


def test_the_file_is_looked_at_by_itself(models, tmp_path):
    file = tmp_path / "tokens"
    give_token(file, "first")
    with closed_server(models, f"--access_tokens_file={file}") as server:
        server.files.follow()
        second = give_token(file, "second")
        eventually(lambda: server.rest(token=second)[0] == 200)


def test_a_file_that_turns_bad_changes_nothing_and_is_said_once(models, tmp_path, caplog):
    caplog.set_level(logging.INFO)
    file = tmp_path / "tokens"
    token = give_token(file, "one")
    good = file.read_text()
    with closed_server(models, f"--access_tokens_file={file}") as server:
        for bad in (f"one predict never {token}\n", None):
            file.unlink() if bad is None else file.write_text(bad)
            server.look()
            server.look()
            assert server.rest(token=token)[0] == 200
        assert caplog.text.count("What was in effect before stays.") == 2
        file.write_text("")
        server.look()
        assert "holds no token: nobody is let in" in caplog.text
        assert server.rest(token=token)[0] == 401
        file.write_text(good)
        server.look()
        assert server.rest(token=token)[0] == 200
    assert token not in caplog.text


def test_expiry_needs_no_change_of_the_file(tmp_path):
    file = tmp_path / "tokens"
    token = give_token(file, "short", expires="2027-01-01")
    now = [time.mktime((2026, 12, 30, 12, 0, 0, 0, 0, 0))]
    access = Access(file, clock=lambda: now[0])
    access.file.start()
    header = f"Bearer {token}".encode()
    assert access.admit("REST", header, TO_PREDICT) == "short"
    now[0] += 3 * 86400
    with pytest.raises(DeniedError, match="Token short expired on 2027-01-01"):
        access.admit("REST", header, TO_PREDICT)


def logged(place, **wanted):
    """The newest line of the access log, once it says what is wanted: it is written after the answer is sent."""

    def newest():
        lines = (place / "access.log").read_text().splitlines()
        return json.loads(lines[-1]) if lines else {}

    eventually(lambda: wanted.items() <= newest().items())
    return newest()


def test_the_access_log_has_who_asked_what_and_how_it_ended(server, tokens, place):
    server.rest(path=f"{PATH}?key=hidden", token=tokens["predict"])
    wanted = {"token": "website", "client": "127.0.0.1", "denied": None, "version": "1"}
    entry = logged(place, api="REST", method="POST", path=PATH, status=200, **wanted)
    assert entry["time"].endswith("+00:00")
    assert entry["request_id"].startswith("1-")
    assert entry["ms"] > 0

    server.grpc(PREDICT, tokens["predict"])
    entry = logged(place, api="GRPC", method=None, path=PREDICT, status="OK", **wanted)
    assert entry["request_id"].startswith("1-")


@pytest.mark.parametrize(
    ("name", "whose", "denied"),
    [("none", None, "missing"), ("unknown", None, "unknown"), ("expired", "intern", "expired")],
)
def test_the_access_log_has_who_was_not_let_in_and_never_a_token(server, tokens, place, name, whose, denied):
    server.rest(token=tokens[name])
    logged(place, api="REST", token=whose, denied=denied, status=401)
    server.grpc(PREDICT, tokens[name])
    logged(place, api="GRPC", token=whose, denied=denied, status="UNAUTHENTICATED")
    text = (place / "access.log").read_text()
    for token in filter(None, tokens.values()):
        assert token not in text


def test_the_access_log_has_streams_and_failures_of_calls(server, tokens, place):
    with server.channel() as channel:
        watch = channel.unary_stream("/grpc.health.v1.Health/Watch")(b"", timeout=20)
        assert next(watch) == b"\x08\x01"
        watch.cancel()
    logged(place, path="/grpc.health.v1.Health/Watch", token=None, denied=None)
    server.grpc(STATUS, tokens["predict"])
    logged(place, path=STATUS, status="INVALID_ARGUMENT", token="website")


def test_a_log_that_was_moved_away_is_made_anew(models, tmp_path):
    log = tmp_path / "access.log"
    with closed_server(models, f"--access_log={log}") as server:
        server.rest()
        logged(tmp_path, status=200)
        log.rename(tmp_path / "access.log.1")
        server.files.log.look()
        server.rest("GET", "/nothing")
        logged(tmp_path, status=404)
    assert len(log.read_text().splitlines()) == len((tmp_path / "access.log.1").read_text().splitlines()) == 1


def test_a_browsers_preflight_needs_no_token_and_its_request_does(models, tmp_path):
    file = tmp_path / "tokens"
    token = give_token(file, "page")
    with closed_server(models, f"--access_tokens_file={file}", "--rest_api_enable_cors_support") as server:
        status, headers, text = server.rest("OPTIONS")
        assert (status, text) == (200, "")
        assert headers["access-control-allow-headers"] == "Content-Type, Authorization"
        status, headers, _ = server.rest()
        assert (status, headers["access-control-allow-origin"]) == (401, "*")
        assert server.rest(token=token)[0] == 200
