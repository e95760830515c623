"""A server that speaks Kubernetes' API over HTTP, as far as the target kubernetes asks it, and counts every write.

Paths, server-side apply, Status objects and codes are those that Kubernetes documents; nothing runs behind it but, for
the proxy of a Service, the model server at `backend`.
"""

import http.client
import json
import re
import threading
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, unquote, urlsplit

import yaml

from tests.kubernetes_server import statuses
from tests.kubernetes_server.objects import Objects, RefusedError
from tests.kubernetes_server.rollouts import Rollouts

TOKEN = "a-token-of-the-test"
NAMESPACE = "slipway"
_PATH = re.compile(
    r"/(?:api/v1|apis/(?P<group>[^/]+)/[^/]+)/namespaces/(?P<namespace>[^/]+)/(?P<resource>[^/]+)"
    r"(?:/(?P<name>[^/]+)(?P<rest>/.*)?)?"
)
_VERBS = {"GET": "get", "PATCH": "patch", "DELETE": "delete", "POST": "create"}


class KubernetesServer:
    """One cluster. Use its fields to say what goes wrong."""

    def __init__(self):
        self.objects = Objects({NAMESPACE, "default"})
        self.rollouts = Rollouts()
        self.writes = []  # (verb, resource, name) of each that changed something
        self.requests = []  # (verb, resource, name) of all
        self.forbidden = set()  # (verb, resource)
        self.answers = []  # (verb, resource, Status, headers): given once each, instead
        self.before_write = lambda *_write: None
        self.backend = None  # (host, port) of a model server that has every version
        self.lock = threading.RLock()
        self._http = ThreadingHTTPServer(("127.0.0.1", 0), type("Handler", (_Handler,), {"cluster": self}))
        self._http.daemon_threads = True

    @property
    def address(self):
        return f"http://127.0.0.1:{self._http.server_port}"

    @contextmanager
    def running(self):
        thread = threading.Thread(target=self._http.serve_forever, args=(0.05,))
        thread.start()
        try:
            yield self
        finally:
            self._http.shutdown()
            self._http.server_close()
            thread.join()

    def kubeconfig(self, folder, token=TOKEN):
        """A kubeconfig file that leads here."""
        file = folder / "kubeconfig"
        named = {"name": "test"}
        context = {**named, "context": {"cluster": "test", "user": "test"}}
        config = {
            "apiVersion": "v1",
            "kind": "Config",
            "clusters": [{**named, "cluster": {"server": self.address}}],
            "users": [{**named, "user": {"token": token}}],
            "contexts": [context],
            "current-context": "test",
        }
        file.write_text(yaml.safe_dump(config))
        return file

    def there(self, resource, namespace=NAMESPACE):
        """The names of what is there."""
        return {each["metadata"]["name"] for each in self.objects.listed(resource, namespace, "")}

    def object(self, resource, name):
        return self.objects.get((resource, NAMESPACE, name))

    def live(self, name):
        """The version that the model's Service names."""
        service = self.object("services", name)
        return None if service is None else int(service["spec"]["selector"]["slipway/version"])

    def answer(self, request, document):
        """Code, document and headers of the answer to a request for an object."""
        group, resource, name = request["group"] or "", request["resource"], request["name"]
        verb = "list" if request["method"] == "GET" and not name else _VERBS[request["method"]]
        self.requests.append((verb, resource, name))
        for planned in self.answers:
            if planned[:2] == (verb, resource):
                self.answers.remove(planned)
                return planned[2]["code"], planned[2], planned[3]
        if (verb, resource) in self.forbidden:
            said = statuses.forbidden(verb, resource, group, request["namespace"], name)
            return 403, said, {}
        try:
            return self._done(verb, request, document)
        except RefusedError as refused:
            return refused.status["code"], refused.status, {}

    def _done(self, verb, request, document):
        resource, namespace, name, group = (request[key] for key in ("resource", "namespace", "name", "group"))
        key = (resource, namespace, name)
        if verb == "list":
            return 200, {"kind": "List", "items": list(self._listed(resource, namespace, request["query"]))}, {}
        if verb in {"patch", "delete"}:
            self.before_write(verb, resource, name)
        if verb == "patch" and request["content_type"] == "application/merge-patch+json":
            made = self.objects.merge(key, group or "", document, request["query"]["fieldManager"][0])
            self.writes.append(("merge", resource, name))
            return 200, made, {}
        if verb == "patch":
            assert request["content_type"] == "application/apply-patch+yaml", request
            assert request["query"]["force"] == ["false"]
            made, created = self.objects.apply(key, group or "", document, request["query"]["fieldManager"][0])
            self.writes.append((verb, resource, name))
            return 201 if created else 200, made, {}
        if verb == "delete":
            self.objects.delete(key, group or "", document["preconditions"]["uid"])
            self.writes.append((verb, resource, name))
            return 200, {"kind": "Status", "apiVersion": "v1", "status": "Success"}, {}
        found = self.objects.get(key)
        if found is None:
            raise RefusedError(statuses.not_found(resource, group or "", name))
        return 200, self._as_it_is(resource, found), {}

    def _listed(self, resource, namespace, query):
        selector = query.get("labelSelector", [""])[0]
        if resource == "pods":
            wanted = dict(term.split("=") for term in selector.split(","))
            for deployment in self.objects.listed("deployments", namespace, ""):
                for pod in self.rollouts.pods(deployment):
                    if wanted.items() <= pod["metadata"]["labels"].items():
                        yield pod
            return
        for each in self.objects.listed(resource, namespace, selector):
            shown = self._as_it_is(resource, each, listed=True)
            yield {key: value for key, value in shown.items() if key != "kind"}  # as lists have them

    def _as_it_is(self, resource, found, *, listed=False):
        if resource != "deployments":
            return found
        if listed:
            available = self.rollouts.is_available(found)
            generation = found["metadata"]["generation"]
            return {**found, "status": {"observedGeneration": generation, "availableReplicas": int(available)}}
        return {**found, "status": self.rollouts.status(found)}

    def backend_of(self, namespace, service):
        """Where a Service's requests go; refused if no Pod of it is ready."""
        found = self.objects.get(("services", namespace, service))
        if found is None:
            raise RefusedError(statuses.not_found("services", "", service))
        wanted = found["spec"]["selector"].items()
        for deployment in self.objects.listed("deployments", namespace, ""):
            labels = deployment["spec"]["template"]["metadata"]["labels"]
            if wanted <= labels.items() and self.rollouts.is_available(deployment):
                return self.backend
        raise RefusedError(statuses.unavailable(f'no endpoints available for service "{service}"'))


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    wbufsize = -1  # one write an answer
    disable_nagle_algorithm = True
    cluster: KubernetesServer

    def do_GET(self):
        parts = urlsplit(self.path)
        found = _PATH.fullmatch(parts.path)
        length = int(self.headers.get("Content-Length") or 0)
        body = self.rfile.read(length)
        if self.headers.get("Authorization") != f"Bearer {TOKEN}":
            return self._say(401, statuses.unauthorized())
        request = {key: value and unquote(value) for key, value in found.groupdict().items()}
        if (request["rest"] or "").startswith("/proxy"):
            return self._proxied(request, body)
        request |= {"method": self.command, "query": parse_qs(parts.query)}
        request["content_type"] = self.headers.get("Content-Type")
        with self.cluster.lock:
            code, document, headers = self.cluster.answer(request, json.loads(body) if body else None)
        return self._say(code, document, headers)

    do_PATCH = do_DELETE = do_POST = do_GET  # noqa: N815

    def _proxied(self, request, body):
        """The request as it is, without the token, which was for us."""
        verb, service = _VERBS[self.command], request["name"].partition(":")
        with self.cluster.lock:
            self.cluster.requests.append((verb, "services/proxy", service[0]))
            if (verb, "services/proxy") in self.cluster.forbidden:
                place = ("services/proxy", "", request["namespace"], request["name"])
                return self._say(403, statuses.forbidden(verb, *place))
            try:
                backend = self.cluster.backend_of(request["namespace"], service[0])
            except RefusedError as refused:
                return self._say(refused.status["code"], refused.status)
        assert service[2] == "rest", "the port's name"
        connection = http.client.HTTPConnection(*backend, timeout=60)
        headers = {"Content-Type": "application/json"}
        connection.request(self.command, request["rest"].removeprefix("/proxy"), body or None, headers)
        answer = connection.getresponse()
        data = answer.read()
        connection.close()
        return self._send(answer.status, data, dict(answer.getheaders()))

    def _say(self, code, document, headers=None):
        self._send(code, json.dumps(document).encode(), {"Content-Type": "application/json", **(headers or {})})

    def _send(self, code, data, headers):
        self.send_response(code)
        for name, value in headers.items():
            if name.lower() not in {"content-length", "transfer-encoding", "connection", "date", "server"}:
                self.send_header(name, value)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)
        self.wfile.flush()

    def log_message(self, *_words):
        pass
