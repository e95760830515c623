"""The REST API, asked over real sockets; a fake runtime answers."""

import gzip
import http.client
import json
import socket
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import pytest
import uvicorn

from serving.model_server.load_rules import LoadRules
from serving.model_server.models import Models
from serving.model_server.rest import RestApi
from tests.serving.model_server.fakes import FakeLoads, eventually, put_version, settings

MAX_BODY_BYTES = 10_000


@contextmanager
def rest_server(models, timeout_s=30.0, draining=lambda: False):
    """The REST API on a free port, in a thread."""
    listener = socket.create_server(("127.0.0.1", 0))
    with ThreadPoolExecutor(4) as threads:
        api = RestApi(models, threads, timeout_s, MAX_BODY_BYTES, draining)
        server = uvicorn.Server(uvicorn.Config(api, lifespan="off", log_config=None, ws="none"))
        thread = threading.Thread(target=server.run, args=([listener],))
        thread.start()
        eventually(lambda: server.started)
        yield Client(listener.getsockname()[1])
        server.should_exit = True
        thread.join()


class Client:
    def __init__(self, port):
        self.port = port

    def request(self, method, path, body=None, headers=None):
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=20)
        connection.request(method, path, body, headers or {})
        response = connection.getresponse()
        self.headers = response.headers
        text = response.read()
        connection.close()
        return response.status, json.loads(text) if text else None

    def get(self, path):
        return self.request("GET", path)

    def post(self, path, document, **headers):
        body = document if isinstance(document, bytes) else json.dumps(document)
        return self.request("POST", path, body, headers)


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    base = tmp_path_factory.mktemp("rest") / "m"
    put_version(base, 1, 1)
    put_version(base, 2, 2)
    models = Models(LoadRules(FakeLoads()))
    models.configure([settings(base, specific=[1, 2], labels={"stable": 1})])
    eventually(
        lambda: len(models.served()[0].versions()) == 2 and models.served()[0].is_available(1) and models.ready()
    )
    eventually(lambda: models.served()[0].is_available(2))
    return models


@pytest.fixture(scope="module")
def client(models):
    with rest_server(models) as client:
        yield client


@pytest.mark.parametrize(
    ("path", "version", "answer"),
    [
        ("/v1/models/m:predict", "2", 3.0),
        ("/v1/models/m/versions/1:predict", "1", 2.0),
        ("/v1/models/m/labels/stable:predict", "1", 2.0),
        ("/V1/Models/m:Predict", "2", 3.0),
        ("/v1/models/%6d:predict", "2", 3.0),
        ("/v1/models/m:predict?key=ignored", "2", 3.0),
    ],
)
def test_predict_goes_to_the_version_asked_for_and_says_which_answered(client, path, version, answer):
    assert client.post(path, {"instances": [1.0]}) == (200, {"predictions": [answer]})
    assert client.headers["x-slipway-version"] == version
    assert client.headers["x-slipway-variant"] == "fake"
    assert client.headers["content-type"] == "application/json"


def test_rows_and_columns_are_answered_in_kind(client):
    path = "/v1/models/m:predict"
    row = {"signature_name": "both", "instances": [{"a": [1, 2], "b": 3}]}
    column = {"signature_name": "both", "inputs": {"a": [[1, 2]], "b": [3]}}
    assert client.post(path, row) == (200, {"predictions": [{"sum": 6.0, "twice": 6}]})
    assert client.post(path, column) == (200, {"outputs": {"sum": [6.0], "twice": [6]}})


def test_strings_go_in_and_out_as_text_and_as_base64(client):
    body = {"signature_name": "text", "instances": ["a", {"b64": "Yg=="}]}
    predictions = [{"loud": "A", "loud_bytes": {"b64": "QQ=="}}, {"loud": "B", "loud_bytes": {"b64": "Qg=="}}]
    assert client.post("/v1/models/m:predict", body) == (200, {"predictions": predictions})


def test_examples_are_classified_and_regressed(client):
    body = {"signature_name": "sizes", "examples": [{}, {"x": 1.5}], "context": {"y": "text"}}
    context, with_x = 17, 34  # bytes
    results = [[["bytes", float(context)]], [["bytes", float(with_x)]]]
    assert client.post("/v1/models/m:classify", body) == (200, {"results": results})
    assert client.post("/v1/models/m/labels/stable:regress", body | {"signature_name": "size"}) == (
        200,
        {"results": [float(context), float(with_x)]},
    )
    assert client.headers["x-slipway-version"] == "1"


@pytest.mark.parametrize(
    ("method", "path", "body", "status", "message"),
    [
        ("POST", "/v1/models/m:predict", b"{", 400, "JSON Parse error: Missing a name for object member. at offset: 1"),
        ("POST", "/v1/models/m:predict", b"", 400, "JSON Parse error: The document is empty"),
        ("POST", "/v1/models/no:predict", {"instances": [1]}, 404, "Servable not found for request: Latest(no)"),
        (
            "POST",
            "/v1/models/m/versions/9:predict",
            {"instances": [1]},
            404,
            "Servable not found for request: Specific(m, 9)",
        ),
        ("POST", "/v1/models/m/labels/x:predict", {"instances": [1]}, 400, "Unrecognized servable version label: x"),
        (
            "POST",
            "/v1/models/m:predict",
            {"instances": [1], "signature_name": "s"},
            400,
            'Serving signature name: "s" not found in signature def',
        ),
        (
            "POST",
            "/v1/models/m:predict",
            {"instances": [[[1]]]},
            400,
            "Input 'x' has shape [1,1,1], which is not of expected shape: [?]",
        ),
        ("POST", "/v1/models/m:predict", {"instances": [1], "signature_name": "refuse"}, 400, "the graph refuses this"),
        (
            "POST",
            "/v1/models/m:predict",
            {"inputs": 1, "signature_name": "none"},
            400,
            "Failed to get input map for signature: none",
        ),
        (
            "POST",
            "/v1/models/m/versions/99999999999999999999:predict",
            {},
            400,
            "Failed to convert version: 99999999999999999999 to numeric.",
        ),
        ("POST", "/v1/models/m:classify", {"examples": [1]}, 400, "Example must be JSON object but got JSON Number"),
        ("POST", "/v1/models/m:regress", {"examples": [{}]}, 400, "No regression inputs found in SignatureDef: "),
        ("POST", "/v1/models/no:regress", {"examples": [{}]}, 404, "Servable not found for request: Latest(no)"),
        (
            "POST",
            "/v1/models/m:classify",
            {"examples": [{}], "signature_name": "s"},
            400,
            "No signature was found with the name: s",
        ),
        (
            "POST",
            "/v1/models/m:regress",
            {"examples": [{}], "signature_name": "\ud800"},
            400,
            'No signature was found with the name: "\\ud800"',
        ),
        ("GET", "/v1/models/m:predict", None, 400, "Malformed request: GET /v1/models/m:predict"),
        ("GET", "/v1/foo", None, 400, "Malformed request: GET /v1/foo"),
        ("POST", "/v1/models/m", {}, 400, "Malformed request: POST /v1/models/m"),
        ("DELETE", "/v1/models/m", None, 400, "Malformed request: DELETE /v1/models/m"),
        ("GET", "/v1/models/m/versions/x", None, 400, "Malformed request: GET /v1/models/m/versions/x"),
        ("GET", "/v1/models/no", None, 404, "Could not find any versions of model no"),
        ("GET", "/v1/models/m/versions/9", None, 404, "Could not find version 9 of model m"),
        ("GET", "/v1/models/m/labels/x", None, 400, "Unrecognized servable version label: x"),
        ("GET", "/v1/models/no/metadata", None, 404, "Servable not found for request: Latest(no)"),
        ("GET", "/", None, 404, "Malformed request: GET /"),
    ],
)
def test_mistakes_are_answered_with_tensorflow_servings_status_and_words(client, method, path, body, status, message):
    data = json.dumps(body) if isinstance(body, dict) else body
    given, answer = client.request(method, path, data)
    assert (given, list(answer)) == (status, ["error"])
    assert answer["error"] == message if message[-1] != " " else answer["error"].startswith(message)


def test_a_crash_in_a_request_is_500_tells_no_internals_and_stops_nothing(client, caplog):
    status, answer = client.post("/v1/models/m:predict", {"instances": [1], "signature_name": "crash"})
    assert (status, answer) == (500, {"error": "RuntimeError: see the server's log."})
    assert "crashed with a secret" in caplog.text
    assert client.post("/v1/models/m:predict", {"instances": [1]})[0] == 200


def test_status_lists_the_versions_highest_first(client):
    ok = {"error_code": "OK", "error_message": ""}
    one, two = ({"version": number, "state": "AVAILABLE", "status": ok} for number in ("1", "2"))
    assert client.get("/v1/models/m") == (200, {"model_version_status": [two, one]})
    assert client.get("/v1/models/m/versions/1") == (200, {"model_version_status": [one]})
    assert client.get("/v1/models/m/labels/stable") == (200, {"model_version_status": [one]})


def test_metadata_describes_the_signatures(client):
    status, answer = client.get("/v1/models/m/versions/1/metadata")
    assert status == 200
    assert answer["model_spec"] == {"name": "m", "signature_name": "", "version": "1"}
    signature = answer["metadata"]["signature_def"]["signature_def"]["both"]
    assert signature["method_name"] == "tensorflow/serving/predict"
    assert signature["inputs"]["a"] == {
        "name": "a:0",
        "dtype": "DT_FLOAT",
        "tensor_shape": {"dim": [{"size": "-1", "name": ""}, {"size": "2", "name": ""}], "unknown_rank": False},
    }


def test_all_models_can_be_listed(client):
    by = {"state": "AVAILABLE", "variant": "fake", "passed_over": [], "faults": []}
    versions = [{"version": 2, **by}, {"version": 1, **by}]
    assert client.get("/v1/models") == (200, {"models": [{"name": "m", "labels": {"stable": 1}, "versions": versions}]})


def test_a_gzip_body_is_unpacked_and_a_bomb_is_not(client):
    path = "/v1/models/m:predict"
    packed = gzip.compress(b'{"instances": [1.0]}')
    assert client.post(path, packed, **{"Content-Encoding": "gzip"}) == (200, {"predictions": [3.0]})
    bomb = gzip.compress(b" " * 50_000_000)
    assert len(bomb) > MAX_BODY_BYTES or client.post(path, bomb, **{"Content-Encoding": "gzip"})[0] == 413
    small_bomb = gzip.compress(b" " * (MAX_BODY_BYTES + 1))
    assert client.post(path, small_bomb, **{"Content-Encoding": "gzip"})[0] == 413
    for broken in (b"no gzip", packed[:-9]):
        status, answer = client.post(path, broken, **{"Content-Encoding": "gzip"})
        assert status == 400
        assert "gzip" in answer["error"]


def test_a_body_over_the_limit_is_413_whether_its_length_is_declared_or_not(client):
    path = "/v1/models/m:predict"
    status, answer = client.post(path, b" " * (MAX_BODY_BYTES + 1))
    assert status == 413
    assert "--max_body_mb" in answer["error"]
    chunks = (b" " * 1000 for _ in range(MAX_BODY_BYTES // 1000 + 1))
    assert client.request("POST", path, chunks)[0] == 413  # http.client sends an iterator in chunks
    just_fits = b'{"instances": [1.0]}'.ljust(MAX_BODY_BYTES)
    assert client.post(path, just_fits)[0] == 200


def test_a_request_that_takes_too_long_is_504_and_the_server_goes_on(models):
    with rest_server(models, timeout_s=0.2) as client:
        start = time.monotonic()
        status, answer = client.post("/v1/models/m:predict", {"instances": [1], "signature_name": "slow"})
        assert (status, answer) == (504, {"error": "No answer within 0.2 s."})
        assert time.monotonic() - start < 0.9
        assert client.post("/v1/models/m:predict", {"instances": [1]})[0] == 200


def test_slow_requests_do_not_hold_up_others(client):
    with ThreadPoolExecutor(1) as pool:
        slow = pool.submit(
            Client(client.port).post, "/v1/models/m:predict", {"instances": [1], "signature_name": "slow"}
        )
        time.sleep(0.1)
        start = time.monotonic()
        assert client.get("/v1/models/m")[0] == 200
        assert client.post("/v1/models/m:predict", {"instances": [1]})[0] == 200
        assert time.monotonic() - start < 0.7
        assert slow.result()[0] == 200


def test_health_is_503_until_every_model_is_available_and_again_while_draining(tmp_path):
    loads = FakeLoads()
    gate = loads.hold(put_version(tmp_path / "m", 1, 1))
    models = Models(LoadRules(loads))
    draining = threading.Event()
    with rest_server(models, draining=draining.is_set) as client:
        assert client.get("/healthz") == (503, {"status": "NOT_SERVING"})
        models.configure([settings(tmp_path / "m")])
        assert client.get("/healthz")[0] == 503
        gate.set()
        eventually(models.ready)
        assert client.get("/healthz") == (200, {"status": "SERVING"})
        draining.set()
        assert client.get("/healthz")[0] == 503
        assert client.get("/livez")[0] == 200


def test_a_model_that_comes_later_does_not_take_the_requests_of_others_away(tmp_path):
    loads = FakeLoads()
    put_version(tmp_path / "m", 1, 1)
    gate = loads.hold(put_version(tmp_path / "later", 1, 1))
    models = Models(LoadRules(loads))
    with rest_server(models) as client:
        models.configure([settings(tmp_path / "m")])
        eventually(models.ready)
        models.configure([settings(tmp_path / "m"), settings(tmp_path / "later", name="later")])
        assert client.get("/healthz")[0] == 200
        gate.set()
        eventually(lambda: models.named("later").is_available())
        assert client.get("/healthz")[0] == 200


def test_a_server_without_a_version_is_alive(tmp_path):
    with rest_server(Models(LoadRules(FakeLoads()))) as client:
        assert client.get("/healthz")[0] == 503
        assert client.get("/livez") == (200, {"status": "SERVING"})
