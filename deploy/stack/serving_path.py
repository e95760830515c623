"""What follows the registry: reconciler, sync sidecar, the model server on what that mirrors, and the drift check."""

import json
import sys
from pathlib import Path

from deploy.doors import have_signing_key, have_tokens
from deploy.first_use import BASE
from deploy.stack.daemon import Daemon
from deploy.stack.folder import Folder
from deploy.stack.mlflow_server import MlflowServer
from deploy.stack.postgresql import PostgreSQL
from deploy.stack.s3 import READER, S3
from deploy.stack.service import Program, http_status
from slipway.files import write_atomically

METRICS = "/metrics"
_INTERVAL_S = 1
_RECONCILE_S = 2


def sync(folder: Folder, s3: S3) -> Program:
    """`slipway-sync`, with keys that only read."""
    port = folder.port("sync")
    words = [f"--from={BASE}", f"--to={folder.inside('base')}", f"--interval={_INTERVAL_S}", f"--port={port}"]
    words += [f"--trusted-keys={trusted_keys(folder)}"]
    ready = f"http://127.0.0.1:{port}/readyz"
    return Program(
        Daemon("sync", folder),
        [sys.executable, "-m", "serving.sync", *words],
        s3.environment(READER),
        lambda: http_status(ready) == 200,
    )


def model_server(folder: Folder) -> Program:
    """`slipway-model-server` on the mirrored directory."""
    base = folder.inside("base")
    monitoring = folder.path / "monitoring.config"
    write_atomically(monitoring, f'prometheus_config {{ enable: true path: "{METRICS}" }}\n'.encode())
    grpc, rest = folder.port("grpc"), folder.port("rest")
    flags = [
        f"--port={grpc}",
        f"--rest_api_port={rest}",
        f"--model_config_file={base}/labels.config",
        f"--model_config_file_poll_wait_seconds={_INTERVAL_S}",
        f"--traffic_config_file={base}/traffic.json",
        f"--page_file={base}/page.json",
        f"--monitoring_config_file={monitoring}",
        f"--prediction_log={prediction_log(folder)}",
        f"--access_tokens_file={access_tokens(folder)}",
        f"--trusted_keys={trusted_keys(folder)}",
        "--default_label=stable",
        "--runtime=auto",
    ]
    return Program(
        Daemon("model-server", folder),
        [sys.executable, "-m", "serving.model_server", *flags],
        {},
        lambda: http_status(f"http://127.0.0.1:{rest}/healthz") is not None,  # 503 while there is no version
    )


def prediction_log(folder: Folder) -> Path:
    """What the model server writes its answers to, and the drift check reads."""
    return folder.inside("predictions")


def access_tokens(folder: Folder) -> Path:
    """Who may ask the model server what."""
    return folder.inside("secrets") / "access-tokens"


def trusted_keys(folder: Folder) -> Path:
    """The directory of the public keys that a version must be signed by."""
    return folder.path / "trusted"


def environment(s3: S3, mlflow: MlflowServer, database: PostgreSQL) -> dict[str, str]:
    """What a `slipway` command needs: S3, MLflow's login, the ledger's database."""
    return {
        **s3.environment("slipway"),
        **drift_environment(mlflow, database),
        "SLIPWAY_TOKEN_FILE": str(access_tokens(mlflow.folder).with_name("token-slipway")),
    }


def drift_environment(mlflow: MlflowServer, database: PostgreSQL) -> dict[str, str]:
    """What the drift check needs: MLflow's login, for the champion's reference and tags, and the database of its lease.

    No key of S3, and no token of the model server.
    """
    return {
        **mlflow.login,
        "SLIPWAY_DATABASE_URL": database.url("slipway", "slipway"),
        "PGPASSFILE": str(database.password_file("slipway")),
    }


def write_configuration(folder: Folder) -> None:
    """`slipway.yaml`: what every command is told with --config; and the tokens and keys that it stands on."""
    file = access_tokens(folder)
    have_tokens(file.parent, file)
    key = folder.inside("signing") / "stack.key"
    have_signing_key(key, trusted_keys(folder))
    servers = f"grpc://127.0.0.1:{folder.port('grpc')}"
    config = {
        "base": BASE,
        "s3_endpoint": f"http://127.0.0.1:{folder.port('s3')}",
        "workdir": str(folder.inside("work")),
        "prediction_log": str(prediction_log(folder)),
        "signing": {"key": str(key), "trusted_keys": str(trusted_keys(folder))},
        "gate": {"require_signature": True},
        "reconcile": {"servers": servers, "interval_s": _RECONCILE_S},
    }
    write_atomically(folder.path / "slipway.yaml", json.dumps(config, indent=2).encode())  # JSON is YAML


def reconciler(folder: Folder, needs: dict[str, str]) -> Program:
    """`slipway reconcile --watch`, with its page for Prometheus."""
    return _watcher("reconciler", folder, ["reconcile", f"--metrics-port={folder.port('reconciler')}"], needs)


def drift(folder: Folder, needs: dict[str, str]) -> Program:
    """`slipway drift --watch --served`: what it finds is tags of the champion, which the reconciler's page has."""
    return _watcher("drift", folder, ["drift", "--served"], needs)


def _watcher(name: str, folder: Folder, words: list[str], needs: dict[str, str]) -> Program:
    daemon = Daemon(name, folder)
    return Program(
        daemon,
        [sys.executable, "-m", "pipeline", *words, "--watch", f"--config={folder.path / 'slipway.yaml'}"],
        needs,
        lambda: "watching: a pass each" in daemon.log.read_text(encoding="utf-8", errors="replace"),
    )
