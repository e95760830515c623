"""A rollout by its command, within this process: real registry, ledger, base path and server; what it saw is made up.

What the servers saw is answered by a small HTTP server, so that thousands of requests take no time.
"""

import json
import sys
import threading
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import numpy as np

from pipeline.rollout.arms import Arm
from serving.observations import Latencies, Observations, VersionObservations
from serving.traffic import parse_traffic
from tests.pipeline.lifecycle_world import json_of
from tests.pipeline.rollout_simulation import EQUAL, KINDS, arm
from tests.pipeline.rollout_world import NAME, STABLE, RolloutWorld


class Seen:
    """What a server says that it saw: a document that a test lets grow."""

    def __init__(self):
        self.server = "process 1"
        self.arms = {}
        self._draw = np.random.default_rng(0)

    def happens(self, stable, canary, kind="equal", requests=2000):
        """So many requests more for each of two versions, the canary's as one of that kind answers them."""
        for version, behaviour in ((stable, EQUAL), (canary, KINDS[kind])):
            self.arms[version] = self.arms.get(version, Arm()).plus(arm(behaviour, requests, self._draw))

    def document(self):
        empty = Latencies().counts
        versions = [
            VersionObservations(
                version,
                requests=each.requests,
                errors=each.errors,
                latency_ms=Latencies(counts=each.latencies or empty),
                confidence=each.confidence,
                labelled=each.labelled,
                correct=each.correct,
            )
            for version, each in sorted(self.arms.items(), reverse=True)
        ]
        return Observations(self.server, NAME, tuple(versions)).as_dict()


@contextmanager
def telling(seen, port=0):
    """An HTTP server that answers with what `seen` holds; gives its address."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            body = json.dumps(seen.document()).encode()
            self.send_response(200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *words):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", port), Handler)
    thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


class Killed(BaseException):
    """The command ends here, as if by SIGKILL: nothing after this happens."""


EFFECTS = {
    "Ledger.append",
    "LocalStore.update_file",
    "Registry.delete_alias",
    "Registry.set_alias",
    "Registry.set_description",
    "Registry.set_stage",
    "Registry.set_tags",
    "StepRun.end",
    "StepRun.metrics",
    "StepRun.tags",
    "kept_run",
    "save_rollout",
    "save_seen",
}


class Scene(RolloutWorld):
    """A champion that is live, on a real server without TensorFlow, and any number of challengers."""

    def __init__(self, folder, patch):
        super().__init__(folder)
        self.patch = patch
        self.seen = Seen()
        self.champion = self.candidate(STABLE).version

    @contextmanager
    def open(self):
        self.base.mkdir()
        with self.following() as grpc, telling(self.seen) as rest:
            self._where = ("--name", NAME, "--servers", f"grpc://127.0.0.1:{grpc}")
            self._rest = ("--rest-servers", rest)
            assert self.call(self.patch, "promote", *self._where, "--version", self.champion).code == 0
            yield self

    def challenger(self):
        """A new version that somebody made challenger by a click; gives its number."""
        version = self.candidate(STABLE).version
        self.registry.set_alias(NAME, "challenger", version)
        return version

    def look(self, *words, rest=None):
        """`slipway rollout`; gives how it ended, and its report."""
        rest = ("--rest-servers", rest) if rest else self._rest
        done = self.call(self.patch, "rollout", *self._where, *rest, "--json", *words)
        return done, json_of(done) if done.out.startswith("{") else None

    def verdict(self, *words, **more):
        done, document = self.look(*words, **more)
        assert document, done.err
        return document["report"]["verdict"], done.code

    def killed_look(self, at):
        """A look that ends before its `at`th effect on anything outside; whether it had so many."""
        left = at

        def kill(frame, event, _argument):
            nonlocal left
            if event == "call" and frame.f_code.co_qualname in EFFECTS:
                left -= 1
                if left == 0:
                    raise Killed

        sys.setprofile(kill)
        try:
            self.look()
        except Killed:
            return True
        finally:
            sys.setprofile(None)
        return False

    def check_killed_abort(self, at):
        """An abort that is killed before its `at`th effect is finished by the next look; whether it had so many."""
        version = self._ready_for("errors on 2 %")
        killed = self.killed_look(at)
        if killed:
            done, _ = self.look()
            assert done.code in {2, 3}, done.out + done.err  # 2: it had ended, and there is no challenger any more
        assert self.registry.version(NAME, version).tags["slipway.deploy"] == "refused"
        self._check_ended(version, [("rollout", "hold"), ("rollout", "abort")])
        return killed

    def check_killed_promotion(self, at):
        """The same of a promotion."""
        version = self._ready_for("equal")
        killed = self.killed_look(at)
        if killed:
            done, _ = self.look()
            assert done.code in {0, 2}, done.out + done.err
        self.champion = version
        self._check_ended(version, [("rollout", "hold"), ("rollout", "promote"), ("promote", "")])
        return killed

    def _ready_for(self, kind):
        """A rollout that its next look decides."""
        version = self.challenger()
        self.seen.happens(self.champion, version, requests=1)
        self.look("--least-requests", "100", "--steps", "50")
        self.seen.happens(self.champion, version, requests=300)
        self.look("--least-requests", "1000")
        self.seen.happens(self.champion, version, kind, requests=10_000)  # enough for a decision by any draw
        return version

    def _check_ended(self, version, entries):
        assert self.aliases == {"champion": self.champion}, (self.aliases, self.champion, self.entries(version))
        assert self.traffic is None
        assert self.entries(version) == entries
        assert [run.info.status for run in self.runs(version)] == ["FINISHED"]
        self.ledger.verify_chain()

    @property
    def traffic(self):
        file = self.base / "traffic.json"
        return parse_traffic(file.read_bytes(), "traffic.json").get(NAME) if file.exists() else None

    @property
    def aliases(self):
        return dict(self.registry.aliases(NAME))

    def entries(self, version):
        """What the ledger has of a version's rollout: (action, verdict) in order."""
        return [
            (entry.action, entry.gate_report["verdict"] if entry.action == "rollout" else "")
            for entry in self.ledger.entries(NAME)
            if entry.alias in {"challenger", "champion"}
            and version in {entry.from_version, entry.to_version}
            and entry.origin == "rollout"
            and entry.action in {"rollout", "promote"}
        ]

    def runs(self, version):
        """The MLflow runs of a version's rollout."""
        wanted = f"tags.`slipway.rollout_version` = '{NAME} {version}'"
        experiments = [each.experiment_id for each in self.mlflow.search_experiments()]
        return self.mlflow.search_runs(experiments, wanted)

    @contextmanager
    def following(self):
        from tests.pipeline.reconcile_world import follower

        self.addresses = "none"
        with follower(self) as server:
            yield server.grpc
