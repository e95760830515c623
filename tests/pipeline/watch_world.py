"""A registry behind MLflow's server on SQLite, which can be killed and started again, and watchers of it."""

import os
import re
import signal
import subprocess
import sys
import time
import urllib.request
from contextlib import contextmanager, suppress
from pathlib import Path

from cryptography.fernet import Fernet

from tests.browser.team_world import TeamWorld
from tests.pipeline.lifecycle_world import background, free_ports, wait_until

_START_S = 180


class SqliteServer:
    """`mlflow server` on a port of its own, the same after each start, that delivers webhooks to this machine."""

    def __init__(self, folder):
        self.folder = folder
        self.uri = f"http://127.0.0.1:{free_ports(1)[0]}"
        self.environment = {"MLFLOW_TRACKING_URI": self.uri}
        self.artifacts = folder / "artifacts"
        self._key = Fernet.generate_key().decode()
        self._process = None

    def start(self):
        assert self._process is None
        flags = ["--backend-store-uri", f"sqlite:///{self.folder}/mlflow.db"]
        flags += ["--artifacts-destination", str(self.artifacts), "--serve-artifacts", "--workers", "1"]
        flags += ["--host", "127.0.0.1", "--port", self.uri.rpartition(":")[2]]
        own = {
            "MLFLOW_WEBHOOK_ALLOWED_SCHEMES": "http,https",
            "MLFLOW_WEBHOOK_ALLOW_PRIVATE_IPS": "true",
            "MLFLOW_WEBHOOK_SECRET_ENCRYPTION_KEY": self._key,
            "MLFLOW_WEBHOOK_CACHE_TTL": "1",  # how long a server may go on with the webhooks that it knew
            "MLFLOW_DISABLE_TELEMETRY": "true",
        }
        ours = {key: value for key, value in os.environ.items() if not key.startswith(("MLFLOW_", "SLIPWAY_"))}
        with (self.folder / "server.log").open("ab") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "mlflow", "server", *flags],
                cwd=self.folder,
                env={**ours, **own},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        wait_until(self._is_well, (self.folder / "server.log").read_text, _START_S, 0.5)

    def kill(self):
        if self._process is not None:
            os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait(30)
        self._process = None

    def _is_well(self):
        assert self._process.poll() is None, (self.folder / "server.log").read_text()
        with urllib.request.urlopen(f"{self.uri}/health", timeout=5) as answer:
            return answer.status == 200


class Watcher:
    """A running `slipway reconcile --watch`."""

    def __init__(self, process, log):
        self.process = process
        self._log = log

    @property
    def said(self):
        return self._log.read_text()

    def has_said(self, pattern, timeout_s=60):
        """Wait until it has; returns what the pattern found."""
        wait_until(lambda: re.search(pattern, self.said), lambda: f"{pattern}\n{self.said}", timeout_s)
        return re.search(pattern, self.said)

    def hang(self):
        """Stop it, at a moment at which it holds no lock of a database's file: no process gets past such a one."""

        def hangs():
            os.kill(self.process.pid, signal.SIGSTOP)
            wait_until(self._is_stopped, "not stopped", every_s=0.001)
            if not self._locks_a_file():
                return True
            os.kill(self.process.pid, signal.SIGCONT)
            return False

        wait_until(hangs, lambda: f"never without a lock\n{self.said}", every_s=0.02)

    def go_on(self):
        os.kill(self.process.pid, signal.SIGCONT)

    def end(self, number=signal.SIGTERM):
        """Signal it; returns its exit code, and how long it took to end, in seconds."""
        began = time.monotonic()
        self.process.send_signal(number)
        return self.process.wait(30), time.monotonic() - began

    def _is_stopped(self):
        return "\nState:\tT" in Path(f"/proc/{self.process.pid}/status").read_text()

    def _locks_a_file(self):
        holders = [line.split()[4:5] for line in Path("/proc/locks").read_text().splitlines()]
        return [str(self.process.pid)] in holders


class WatchWorld(TeamWorld):
    """One model's world on such a server, its ledger in a SQLite file of its own."""

    def __init__(self, folder, server, name):
        super().__init__(folder, server, f"sqlite:///{folder}/slipway.db", name)
        self.more = {}  # of the environment
        self.servers = "none"

    @contextmanager
    def serving(self):
        """`slipway serve` by itself, of the champion; yields where to ask."""
        rest_port, grpc_port = free_ports()
        words = ("--name", self.name, "--runtime", "onnxruntime", "--rest-port", rest_port, "--grpc-port", grpc_port)
        self.servers = f"grpc://127.0.0.1:{grpc_port}"
        url = f"http://127.0.0.1:{rest_port}/v1/models/{self.name}"
        with background(self, "serve", *words, log=self.folder / "serve.log") as process:
            wait_until(lambda: self._answers(process, url), self.logs)
            yield f"{url}:predict"

    @contextmanager
    def watched(self, *flags, log="watch.log", **environment):
        """A watcher of this model, with one look a second unless `flags` say otherwise."""
        words = ("reconcile", "--watch", "--name", self.name, "--interval", "1", "--servers", self.servers, *flags)
        with background(self.with_environment(environment), *words, log=self.folder / log) as process:
            yield Watcher(process, self.folder / log)

    def with_environment(self, more):
        """The same world, whose processes have more in their environment."""
        world = WatchWorld(self.folder, self.server, self.name)
        world.more = more
        return world

    @property
    def environment(self):
        return {**super().environment, **self.more}

    def promote(self, version):
        """What a click in the UI does."""
        self.registry.set_alias(self.name, "champion", version)

    def forget(self):
        """Delete the model: the next test's watcher would find it wanted."""
        from mlflow import MlflowClient
        from mlflow.exceptions import MlflowException

        with suppress(MlflowException):
            MlflowClient(self.uri).delete_registered_model(self.name)

    def deployed(self, version):
        return self.registry.version(self.name, version).tags.get("slipway.deploy")
