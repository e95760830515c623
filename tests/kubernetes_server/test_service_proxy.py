"""A version's Service is asked through the API server: whose answer is whose."""

import json
import threading
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from serving.cluster.service_proxy import ServiceProxy
from serving.kubernetes.manifests import deployment, version_service
from slipway.errors import UnavailableError
from tests.kubernetes_server.scene import served
from tests.kubernetes_server.server import NAMESPACE


@contextmanager
def backend(status, document):
    """A model server that answers everything so; yields what it was asked, with the headers."""
    asked = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self):
            body = self.rfile.read(int(self.headers["Content-Length"]))
            asked.append((self.path, body, dict(self.headers)))
            data = json.dumps(document).encode()
            self.send_response(status)
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        def log_message(self, *_words):
            pass

    http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=http.serve_forever, args=(0.05,))
    thread.start()
    try:
        yield http.server_address, asked
    finally:
        http.shutdown()
        http.server_close()
        thread.join()


@pytest.fixture
def proxy(server, cluster, owner):
    """The way to version 2's Service, whose Deployment was looked at until it was ready."""
    for each in (deployment(served(2)), version_service(served(2))):
        cluster.apply(owner, each)
    while not server.rollouts.is_available(cluster.find("Deployment", "digits-v2")):
        pass
    return ServiceProxy(cluster.api, NAMESPACE, "digits-v2", "rest")


def test_a_versions_service_is_asked_through_the_api_and_its_refusal_is_an_answer(server, proxy):
    with backend(404, {"error": "Servable not found"}) as (server.backend, asked):
        response = proxy.post("/v1/models/digits/versions/2:predict", {"instances": [1]})
    assert (response.status, response.message) == (404, "Servable not found")
    ((path, body, headers),) = asked
    assert (path, json.loads(body)) == ("/v1/models/digits/versions/2:predict", {"instances": [1]})
    assert "Authorization" not in headers


def test_a_busy_model_server_is_not_taken_for_a_busy_api(server, proxy, pauses):
    with backend(429, {"error": "too many requests"}) as (server.backend, _):
        assert proxy.post("/v1/models/digits:predict", {}).status == 429
    assert pauses == []


def test_a_model_server_that_wants_a_token_is_said_to_be_out_of_the_proxys_reach(server, proxy):
    with (
        backend(401, {"error": "no token"}) as (server.backend, _),
        pytest.raises(UnavailableError, match=r"wants a token \(no token\).*proxy does not pass on.*--ask-at"),
    ):
        proxy.post("/v1/models/digits:predict", {})


def test_a_service_without_a_ready_pod_is_waited_for_and_then_unavailable(server, cluster, proxy, pauses):
    server.rollouts.never["digits-v2"] = {}
    with pytest.raises(UnavailableError, match=r'no endpoints available for service "digits-v2"'):
        proxy.post("/v1/models/digits:predict", {})
    assert 0 < sum(pauses) <= 20
