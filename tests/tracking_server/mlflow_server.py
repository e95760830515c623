"""MLflow's tracking server as a team runs it: basic authentication, PostgreSQL, artifacts served by itself."""

import base64
import json
import os
import secrets
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

from serving.targets import leash
from tests.tracking_server.ports import free_port

_START_S = 240  # MLflow's first start on a database runs all its migrations
_END_S = 30
_LEASH = leash.__file__  # a test session that is killed leaves no server behind


@dataclass(frozen=True)
class TrackingServer:
    """A running server: its address, its administrator, and the folder that it keeps artifacts in."""

    uri: str
    folder: Path
    username: str = "admin"
    password: str = field(default_factory=lambda: secrets.token_urlsafe(16), repr=False)

    @property
    def artifacts(self):
        return self.folder / "artifacts"

    @property
    def log(self):
        return (self.folder / "log").read_text()

    @property
    def environment(self):
        """What a client needs in its environment."""
        return {
            "MLFLOW_TRACKING_URI": self.uri,
            "MLFLOW_TRACKING_USERNAME": self.username,
            "MLFLOW_TRACKING_PASSWORD": self.password,
        }

    def call(self, path, document, method="POST"):
        """MLflow's REST API as the administrator: `registered-models/alias`, for example."""
        login = base64.b64encode(f"{self.username}:{self.password}".encode()).decode()
        request = urllib.request.Request(
            f"{self.uri}/api/2.0/mlflow/{path}",
            json.dumps(document).encode(),
            {"Content-Type": "application/json", "Authorization": f"Basic {login}"},
            method=method,
        )
        with urllib.request.urlopen(request, timeout=30) as answer:
            return json.load(answer)


@contextmanager
def tracking_server(cluster, folder):
    """Start MLflow's server on databases of its own in `cluster`; it is gone when the block ends."""
    server = TrackingServer(f"http://127.0.0.1:{free_port()}", folder)
    store, users = (_with_driver(cluster.create_database()) for _ in range(2))
    settings = folder / "basic_auth.ini"
    settings.touch(0o600)
    settings.write_text(
        f"[mlflow]\ndefault_permission = NO_PERMISSIONS\ndatabase_uri = {users}\n"
        "auth_cache_ttl_seconds = 60\n"  # else each request hashes the password anew
    )
    port = server.uri.rpartition(":")[2]
    flags = ["--app-name", "basic-auth", "--host", "127.0.0.1", "--port", port, "--workers", "1", "--serve-artifacts"]
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(
            [
                *(sys.executable, _LEASH, str(os.getpid()), sys.executable, "-m", "mlflow", "server", *flags),
                *("--artifacts-destination", str(server.artifacts)),
            ],
            cwd=folder,
            env={**_environment(server, settings), "MLFLOW_BACKEND_STORE_URI": store},
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
    try:
        _wait_until_healthy(server, process)
        yield server
    finally:
        _end(process)


def _with_driver(url):
    # MLflow passes it to SQLAlchemy as it is; by itself SQLAlchemy 2.0 looks for psycopg2.
    return url.replace("postgresql://", "postgresql+psycopg://", 1)


def _environment(server, settings):
    from cryptography.fernet import Fernet

    return {
        **{key: value for key, value in os.environ.items() if not key.startswith(("MLFLOW_", "SLIPWAY_"))},
        "MLFLOW_AUTH_CONFIG_PATH": str(settings),
        "MLFLOW_AUTH_ADMIN_USERNAME": server.username,
        "MLFLOW_AUTH_ADMIN_PASSWORD": server.password,
        "MLFLOW_FLASK_SERVER_SECRET_KEY": secrets.token_hex(16),
        # Webhooks to this machine are for tests: MLflow delivers to https and public addresses alone.
        "MLFLOW_WEBHOOK_ALLOWED_SCHEMES": "http,https",
        "MLFLOW_WEBHOOK_ALLOW_PRIVATE_IPS": "true",
        "MLFLOW_WEBHOOK_SECRET_ENCRYPTION_KEY": Fernet.generate_key().decode(),
        "MLFLOW_DISABLE_TELEMETRY": "true",
        "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",  # seven processes more, for what is no part of the registry
        "TMPDIR": str(server.folder),  # it leaves a lock's file for each database there
    }


def _wait_until_healthy(server, process):
    end = time.monotonic() + _START_S
    while time.monotonic() < end:
        assert process.poll() is None, server.log
        try:
            urllib.request.urlopen(f"{server.uri}/health", timeout=2).close()
        except OSError:
            time.sleep(0.5)
        else:
            return
    raise AssertionError(f"mlflow server did not answer within {_START_S} s:\n{server.log}")


def _end(process):
    """End the server and its workers: they are one process group."""
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGTERM)
    try:
        process.wait(_END_S)
    finally:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
