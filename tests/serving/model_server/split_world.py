"""A server in this process, over real sockets, of tiny classifiers: their version directories say how they answer."""

import json
import socket
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import grpc
import numpy as np
import uvicorn

from serving.model_server.admission import Admission
from serving.model_server.answered import Answered
from serving.model_server.errors import RefusedError, invalid_argument
from serving.model_server.grpc_api import GrpcApi
from serving.model_server.grpc_server import make_grpc_server
from serving.model_server.load_rules import LoadRules
from serving.model_server.logged import Logged
from serving.model_server.models import Models
from serving.model_server.observer import Observer
from serving.model_server.polling import Poller
from serving.model_server.rest import RestApi
from serving.model_server.runtimes import Loaded, Variant
from serving.model_server.shadows import Shadows
from serving.model_server.traffic_file import TrafficFile
from serving.observations import parse_observations
from serving.servable.layout import LABELS, MANIFEST, published_path
from serving.wire.predict_pb2 import PredictRequest
from serving.wire.status_pb2 import Code
from serving.wire.tensors import to_proto
from slipway.files import sha256_file, write_atomically
from tests.serving.model_server.fakes import eventually, put_version, settings, signature
from tests.serving.model_server.processes import free_ports

NAMES = ("ant", "bee", "cat", "dog")
OUTPUTS = {"output": ("float", [-1, 4]), "class_id": ("int64", [-1])}
FAILS, REFUSED, FULL = 900.0, 800.0, 700.0
PREDICT = "/tensorflow.serving.PredictionService/"


SIGNATURES = {
    "serving_default": signature({"x": ("float", [-1])}, OUTPUTS),
    "both": signature({"a": ("float", [-1])}, {"y": ("float", [-1])}),
    "sizes": signature({"inputs": ("string", [-1])}, {"classes": ("string", [-1, -1])}),
    "size": signature({"inputs": ("string", [-1])}, {"outputs": ("float", [-1])}),
}


class Classifier:
    """The class is the whole part of `x`, and `shift` more, of four, by the probability 0.7; it takes `run_s`."""

    def __init__(self, shift=0, run_s=0.0, fails=True):
        self.signatures = SIGNATURES
        self.shift, self.run_s, self.fails = shift, run_s, fails

    def run(self, name, inputs, outputs):
        time.sleep(self.run_s)
        if name == "both":
            return {"y": inputs["a"]}
        if name in {"sizes", "size"}:
            count = len(inputs["inputs"])
            found = {"classes": np.full((count, 1), b"bytes", object), "outputs": np.ones(count, np.float32)}
            return {key: found[key] for key in outputs}
        x = inputs["x"]
        if self.fails and (x == FAILS).any():
            raise RuntimeError("crashed with a secret")
        if self.fails and (x == FULL).any():
            raise RefusedError(Code.UNAVAILABLE, "the queue is full")
        if (x == REFUSED).any():
            raise invalid_argument("no such picture")
        class_id = (x.astype(np.int64) + self.shift) % 4
        output = np.full((len(x), 4), 0.1, np.float32)
        output[np.arange(len(x)), class_id] = 0.7
        found = {"output": output, "class_id": class_id}
        return {key: found[key] for key in outputs}

    def close(self):
        pass


def load(path):
    return Loaded(Classifier(**json.loads((path / "saved_model.pb").read_text())), Variant("tiny"))


class World:
    """`put` versions, `label` them, `split` the traffic, `ask`."""

    def __init__(self, folder, *, cores_busy=lambda: 0, most=100_000, log=None, sample=1.0):
        self.base = folder / "m"
        self.file = folder / "traffic.json"
        self.log = log
        self.answered = Answered(most) if log is None else Answered(most, on_labelled=log.labelled)
        self.traffic = TrafficFile(self.file)
        logged = None if log is None else Logged(log, sample, lambda: self.models).left
        observer = Observer(self.answered, Shadows(self.answered, cores_busy), logged)
        self.models = Models(LoadRules(load), "stable", self.traffic.of, observer.left)
        self.admission = Admission(0)

    def put(self, number, *, sealed=True, **how):
        """A version directory, with labels and a manifest if it is `sealed`; the manifest's digest."""
        path = put_version(self.base, number, json.dumps(how))
        if not sealed:
            return "none"
        (path / published_path(MANIFEST)).parent.mkdir(parents=True)
        (path / published_path(LABELS)).write_text(json.dumps(NAMES))
        (path / published_path(MANIFEST)).write_text(f"of {path}")
        return sha256_file(path / published_path(MANIFEST))

    def label(self, **labels):
        self.models.configure([settings(self.base, specific=set(labels.values()), labels=labels)])
        eventually(lambda: self.models.served()[0].labels == labels)

    def split(self, canary=0, shadow=0, **more):
        entry = {"traffic": {"stable": 100 - canary, "canary": canary}, "shadow": {"canary": shadow}, **more}
        write_atomically(self.file, json.dumps({"models": {"m": entry}}).encode())
        self.traffic.look()

    @contextmanager
    def serving(self):
        """REST and gRPC on free ports."""
        listener = socket.create_server(("127.0.0.1", 0))
        self.rest_port, grpc_port = listener.getsockname()[1], free_ports(1)[0]
        with ThreadPoolExecutor(4) as threads:
            app = RestApi(self.models, threads, 20.0, 100_000, admission=self.admission, answered=self.answered)
            rest = uvicorn.Server(uvicorn.Config(app, lifespan="off", log_config=None, ws="none"))
            thread = threading.Thread(target=rest.run, args=([listener],))
            thread.start()
            server = make_grpc_server(GrpcApi(self.models, admission=self.admission), f"127.0.0.1:{grpc_port}", 4)
            server.start()
            eventually(lambda: rest.started)
            with grpc.insecure_channel(f"127.0.0.1:{grpc_port}") as self.channel:
                yield self
            server.stop(None).wait()
            rest.should_exit = True
            thread.join()

    @contextmanager
    def polled(self, interval_s=0.02):
        poller = Poller(self.models, 0, None, interval_s, self.traffic)
        poller.start()
        yield
        poller.stop()

    def client(self):
        return RestClient(self.rest_port)

    def ask(self, *x, where="", method="predict", body=None, **headers):
        """One REST request on a connection of its own."""
        with self.client() as client:
            return client.ask(*x, where=where, method=method, body=body, **headers)

    def call(self, *x, metadata=(), request=None, method="Predict", label=""):
        """One gRPC request; its code, and its trailing metadata."""
        if request is None:
            request = PredictRequest()
            request.model_spec.name = "m"
            if label:
                request.model_spec.version_label = label
            request.inputs["x"].CopyFrom(to_proto(np.array(x, np.float32)))
        stub = self.channel.unary_unary(PREDICT + method, lambda message: message.SerializeToString(), bytes)
        call = stub.future(request, metadata=metadata, timeout=20)
        call.exception()
        return call.code(), dict(call.trailing_metadata())

    def get(self, path):
        with self.client() as client:
            return client.request("GET", path)

    def feedback(self, document):
        with self.client() as client:
            return client.request("POST", "/v1/feedback", json.dumps(document))

    def seen(self, label):
        """The observations of the version with that label, as a client reads them."""
        status, document = self.get("/v1/models/m/observations")
        assert status == 200
        return parse_observations(document, "server").of(label)


class RestClient:
    def __init__(self, port):
        import http.client

        self._connection = http.client.HTTPConnection("127.0.0.1", port, timeout=20)

    def __enter__(self):
        return self

    def __exit__(self, *exception):
        self._connection.close()

    def request(self, method, path, body=None, headers=None):
        self._connection.request(method, path, body, headers or {})
        response = self._connection.getresponse()
        self.headers = {name.lower(): value for name, value in response.getheaders()}
        return response.status, json.loads(response.read())

    def ask(self, *x, where="", method="predict", body=None, **headers):
        """Status, headers and document of a prediction."""
        body = json.dumps({"instances": list(x)}) if body is None else body
        path = f"/v1/models/m{where}:{method}"
        status, document = self.request("POST", path, body, {key.replace("_", "-"): v for key, v in headers.items()})
        return status, self.headers, document


@contextmanager
def two_versions(folder, *, cores_busy=lambda: 0, most=100_000, log=None, sample=1.0, **canary):
    """Version 1 is stable, version 2 the canary, which answers the next class unless it is told to do otherwise."""
    world = World(folder, cores_busy=cores_busy, most=most, log=log, sample=sample)
    world.digests = {1: world.put(1), 2: world.put(2, **({"shift": 1} | canary))}
    world.label(stable=1, canary=2)
    with world.serving():
        yield world
