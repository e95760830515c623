"""Serve the champion in the foreground, by any target, from verified bytes."""

import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from pipeline.beside import beside
from pipeline.config import Config, config_to_json, with_overrides
from pipeline.doors import Doors
from pipeline.mirrored import local_base
from pipeline.progress import report
from pipeline.promotion import champion_and_previous, open_ledger
from pipeline.publication import publish, verify_source
from pipeline.signing.trust import check_runs_signed_bytes_only, required_keys
from pipeline.telemetry import METRICS_PATH, Show
from registry.client import ModelVersion, Registry
from registry.ledger import CHAMPION
from serving.model_config import (
    LABELS_CONFIG,
    MODELS_CONFIG,
    Wanted,
    labels_config,
    models_config,
    stable_version,
)
from serving.model_server.runtimes import AUTO, RUNTIMES
from serving.stores import open_store
from serving.targets import Addresses, reachable
from serving.targets.process import check_ports_free
from slipway.errors import InputError, IntegrityError

_UI = "http://127.0.0.1:5000"


@dataclass(frozen=True)
class Listen:
    """Where a server listens."""

    host: str
    rest_port: int
    grpc_port: int
    doors: Doors = field(default_factory=Doors)


def serve(
    config: Config,
    target: str,
    listen: Listen,
    runtime: str | None = None,
    *,
    show: Show = Show(),  # noqa: B008  it is frozen
    reconcile: bool = False,
) -> int:
    """Serve until stopped; returns the exit code. Refuses (IntegrityError) bytes that are not the registered ones.

    runtime: the embedded server's, or None for its default; InputError with another target, which has none to choose.
    show: of metrics, log and traces; InputError for what the target has none of.
    reconcile: `slipway reconcile --watch` runs beside the server, once that answers; InputError with target mlflow.
    """
    from serving.targets import ServeSpec, open_target
    from serving.targets.process import run

    doors = listen.doors.flags(target, listen.host)
    extra_args = (*_runtime_flag(runtime, target), *_keys_flag(config, target), *_log_flag(config, target), *doors)
    if reconcile:
        _check_watchable(target)
    watcher_arguments = show.watcher_arguments(reconcile=reconcile)
    registry = Registry()
    champion = registry.require_alias(config.name, CHAMPION)

    def announce(where: Addresses) -> None:
        report(f"serving {champion.name} version {champion.version} at {where}")
        if show.metrics:
            report(f"metrics at {where.rest}{METRICS_PATH}")
        if reconcile:
            # Not before: a pass that finds no server starts one of its own to ask the golden requests.
            stack.enter_context(_watcher(config, listen, watcher_arguments))

    with (
        show.telemetry() as telemetry,
        _model_directory(registry, champion, target) as model_directory,
        ExitStack() as stack,
    ):
        base = Path()
        if model_directory is None:
            champion = _prepare_base(config, registry, champion)
            base = stack.enter_context(local_base(config))
        spec = ServeSpec(
            name=config.name,
            base=base,
            rest_port=listen.rest_port,
            grpc_port=listen.grpc_port,
            host=listen.host,
            model_directory=model_directory,
            extra_args=extra_args,
            tls=listen.doors.tls,
            telemetry=telemetry,
        )
        return run(open_target(target), spec, announce=announce)


def _runtime_flag(runtime: str | None, target: str) -> tuple[str, ...]:
    if runtime is None:
        return ()
    if target != "embedded":
        raise InputError(f"--runtime {runtime}: target {target} has no choice of runtimes. Leave out one of them.")
    if runtime not in {*RUNTIMES, AUTO}:
        raise InputError(f"--runtime {runtime}: expected one of {', '.join((*RUNTIMES, AUTO))}. Pass one of these.")
    return (f"--runtime={runtime}",)


def _keys_flag(config: Config, target: str) -> tuple[str, ...]:
    """The embedded server asks for signatures itself; TensorFlow Serving cannot: it is given what has been verified."""
    if target == "mlflow":
        check_runs_signed_bytes_only(config)
    keys = required_keys(config)
    return (f"--trusted_keys={keys}",) if keys and target == "embedded" else ()


def _log_flag(config: Config, target: str) -> tuple[str, ...]:
    if not config.prediction_log:
        return ()
    if target != "embedded":
        raise InputError(
            f"prediction_log {config.prediction_log}: target {target} writes none. Use --target embedded, or leave "
            "prediction_log out."
        )
    return (f"--prediction_log={Path(config.prediction_log).absolute()}",)


@contextmanager
def mlflow_ui(config: Config) -> Iterator[Config]:
    """The MLflow UI on port 5000 for the length of the block, where the registry is a database and no server.

    Yields the configuration, with that UI for the page's links, unless it names another one.
    """
    import mlflow

    tracking_uri = mlflow.get_tracking_uri()
    if tracking_uri.startswith("http"):
        report("the MLflow UI is the tracking server's own")
        yield config
        return
    check_ports_free(Addresses(_UI), "127.0.0.1")
    command = [str(Path(sys.executable).with_name("mlflow")), "ui", "--host", "127.0.0.1", "--port", "5000"]
    # By environment, where a password in the address is not seen by everybody.
    environment = {**os.environ, "MLFLOW_BACKEND_STORE_URI": tracking_uri}
    process = subprocess.Popen(command, env=environment, start_new_session=True)
    report(f"MLflow UI at {_UI}/#/models")
    try:
        yield with_overrides(config, {"reconcile.mlflow_ui": config.reconcile.mlflow_ui or _UI})
    finally:
        os.killpg(process.pid, signal.SIGTERM)
        process.wait()


def _check_watchable(target: str) -> None:
    if target == "mlflow":
        raise InputError(
            "--reconcile: target mlflow cannot reload, so that its server belongs to the watcher. "
            "Run: slipway reconcile --watch --target mlflow"
        )


@contextmanager
def _watcher(config: Config, listen: Listen, arguments: Sequence[str]) -> Iterator[None]:
    """`slipway reconcile --watch` for the server at `listen`, in a process of its own, for the length of the block."""
    scheme = "grpcs" if listen.doors.tls else "grpc"
    server = f"{scheme}://{reachable(listen.host)}:{listen.grpc_port}"
    followed = with_overrides(config, {"reconcile.servers": server})
    with tempfile.TemporaryDirectory(prefix="slipway-watch-") as scratch:
        file = Path(scratch, "config.yaml")
        file.write_text(config_to_json(followed), encoding="utf-8")  # JSON is YAML
        with beside("pipeline", ("reconcile", "--watch", f"--config={file}", *arguments)):
            yield


def _prepare_base(config: Config, registry: Registry, champion: ModelVersion) -> ModelVersion:
    """Have the version that goes live published and whole, and the config files there; returns that version.

    What the config files have live stays so: a champion that was moved in MLflow meanwhile has yet to answer.
    """
    store, name = open_store(config.base), champion.name
    live = stable_version(store.update_file(LABELS_CONFIG, lambda text: text), name)
    if live is not None and live != champion.version:
        report(
            f"champion is version {champion.version}, live is version {live}: `slipway reconcile --once` changes that"
        )
        champion = registry.version(name, live)
    publish(config, registry, champion)
    if live is None:
        _, previous = champion_and_previous(registry, open_ledger(registry), name)
        wanted = Wanted(champion.version, previous if previous in store.versions(name) else None)
        base = store.model_path(name)
        store.update_file(LABELS_CONFIG, lambda text: labels_config(text, name, base, wanted))
        store.update_file(MODELS_CONFIG, lambda text: models_config(text, name, base, wanted))
    return champion


@contextmanager
def _model_directory(registry: Registry, champion: ModelVersion, target: str) -> Iterator[Path | None]:
    """A verified copy of the version's MLflow model, for `mlflow models serve`, which reads no base path."""
    if target != "mlflow":
        yield None
        return
    verify_source(registry, champion)
    with tempfile.TemporaryDirectory(prefix="slipway-model-") as scratch:
        yield fetched_model(registry, champion, Path(scratch))


def fetched_model(registry: Registry, version: ModelVersion, into: Path) -> Path:
    """A copy of the version's MLflow model below `into`; IntegrityError unless every file is the registered one."""
    from pipeline.package import SERVABLE, model_digest
    from pipeline.publication import registered_digest
    from registry.register import MODEL_DIGEST
    from serving.servable.verification import verify_bundle

    place = f"{version.name} version {version.version}"
    root = registry.download(version, "", into)
    verify_bundle(root / SERVABLE, registered_digest(version), place)
    if model_digest(root) != version.tags.get(MODEL_DIGEST):
        raise IntegrityError(
            f"{place}: a file below code/ or data/ is not the one that was registered (tag {MODEL_DIGEST}). "
            "Restore it in the artifact store, or promote another version."
        )
    return root
