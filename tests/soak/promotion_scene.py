"""A 224 x 224 ResNet50 in many versions, a server that follows them, and clients that never stop asking."""

import base64
import http.client
import json
import threading
import time
from contextlib import contextmanager

from benchmarks.promotion.registered import Registered
from benchmarks.serving.network import NAME
from benchmarks.serving.payloads import photographs
from pipeline.verify import free_ports
from tests.pipeline.lifecycle_world import World, wait_until

VARIANTS = ("openvino-int8",)
_ANSWER_S = 60


class Scene:
    """A registry in `folder`, made there if it is not yet, with `versions` versions; ports for one server."""

    def __init__(self, folder, versions):
        self.registered = Registered(folder)
        self.world = World(folder)
        done = folder / f"registered-{versions}"
        if not done.exists():
            self.registered.make(versions, VARIANTS)
            done.touch()
        self.rest, self.grpc = free_ports()
        self.where = ("--name", NAME, "--base", str(self.registered.base))
        self.servers = ("--servers", f"grpc://127.0.0.1:{self.grpc}")

    def promote(self, version):
        """As a person does it in MLflow's UI."""
        self.registered.registry.set_alias(NAME, "champion", version)

    @contextmanager
    def server(self):
        ports = (f"--rest-port={self.rest}", f"--grpc-port={self.grpc}")
        log = self.registered.folder / "serve.log"
        with self.registered.command("serve", *ports, "--runtime=openvino", *self.where, log=log):
            wait_until(lambda: self.live() is not None, lambda: log.read_text()[-3000:])
            yield

    @contextmanager
    def watcher(self, interval_s=1):
        log = self.registered.folder / "reconcile.log"
        words = ("reconcile", "--watch", f"--interval={interval_s}", *self.servers, *self.where)
        with self.registered.command(*words, log=log) as process:
            yield process

    def live(self):
        """The version that answers requests which name none."""
        connection = http.client.HTTPConnection("127.0.0.1", self.rest, timeout=10)
        try:
            connection.request("GET", f"/v1/models/{NAME}/labels/stable")
            response = connection.getresponse()
            document = json.loads(response.read())
            return int(document["model_version_status"][0]["version"]) if response.status == 200 else None
        finally:
            connection.close()

    def wait_live(self, version):
        """Until the server, the registry and the ledger say so."""
        log = self.registered.folder / "reconcile.log"
        wait_until(lambda: self.live() == version, lambda: log.read_text()[-3000:])
        wait_until(
            lambda: (last := self.world.ledger.last(NAME, "champion")) is not None and last.to_version == version,
            lambda: log.read_text()[-3000:],
        )


class Clients:
    """`count` clients, each on one connection, that ask without naming a version; what answered is counted."""

    def __init__(self, port, count=8):
        self.allowed = set()  # versions that may answer now
        self.answered = 0
        self.wrong = []
        self._lock = threading.Lock()
        self._stopping = threading.Event()
        self._port = port
        picture = base64.b64encode(photographs(1)[0]).decode()
        request = {"signature_name": "serving_bytes", "instances": [{"image_bytes": {"b64": picture}}]}
        self._body = json.dumps(request).encode()
        self._threads = [threading.Thread(target=self._run, daemon=True) for _ in range(count)]

    def __enter__(self):
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_exception):
        self._stopping.set()
        for thread in self._threads:
            thread.join(_ANSWER_S)
        if self.wrong:
            print(f"{len(self.wrong)} answers failed or were wrong:", *self.wrong[:5], sep="\n")  # noqa: T201

    def _run(self):
        connection = http.client.HTTPConnection("127.0.0.1", self._port, timeout=_ANSWER_S)
        while not self._stopping.is_set():
            before = set(self.allowed)
            try:
                connection.request("POST", f"/v1/models/{NAME}:predict", self._body)
                response = connection.getresponse()
                text = response.read()
                version, status = response.headers["x-slipway-version"], response.status
            except (OSError, http.client.HTTPException) as error:
                with self._lock:
                    self.wrong.append(f"{time.monotonic():.1f}: {type(error).__name__}: {error}")
                connection.close()
                continue
            with self._lock:
                self.answered += 1
                if status != 200:
                    self.wrong.append(f"{time.monotonic():.1f}: HTTP {status}: {text[:200]!r}")
                elif version not in map(str, before | self.allowed):
                    self.wrong.append(f"{time.monotonic():.1f}: version {version}, not of {before | self.allowed}")
