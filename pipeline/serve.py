"""Serve the champion in the foreground, by any target, from verified bytes."""

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from pipeline.config import Config
from pipeline.progress import report
from pipeline.promotion import champion_and_previous, open_ledger
from pipeline.publication import publish, verify_source, write_configs
from registry.client import ModelVersion, Registry
from registry.ledger import CHAMPION


@dataclass(frozen=True)
class Listen:
    """Where a server listens."""

    host: str
    rest_port: int
    grpc_port: int


def serve(config: Config, target: str, listen: Listen) -> int:
    """Serve until stopped; returns the exit code. Refuses (IntegrityError) bytes that are not the registered ones."""
    from serving.targets import ServeSpec, open_target
    from serving.targets.process import run

    registry = Registry()
    champion = registry.require_alias(config.name, CHAMPION)
    with _model_directory(registry, champion, target) as model_directory:
        if model_directory is None:
            _prepare_base(config, registry, champion)
        spec = ServeSpec(
            name=config.name,
            base=Path(config.base).absolute(),
            rest_port=listen.rest_port,
            grpc_port=listen.grpc_port,
            host=listen.host,
            model_directory=model_directory,
        )
        return run(
            open_target(target),
            spec,
            announce=lambda where: report(f"serving {champion.name} version {champion.version} at {where}"),
        )


def _prepare_base(config: Config, registry: Registry, champion: ModelVersion) -> None:
    publish(config, registry, champion)
    _, previous = champion_and_previous(registry, open_ledger(registry), champion.name)
    write_configs(config, champion.name, champion.version, previous)


@contextmanager
def _model_directory(registry: Registry, champion: ModelVersion, target: str) -> Iterator[Path | None]:
    """A verified copy of the version's MLflow model, for `mlflow models serve`, which reads no base path."""
    if target != "mlflow":
        yield None
        return
    verify_source(registry, champion)
    with tempfile.TemporaryDirectory(prefix="slipway-model-") as scratch:
        yield _fetched(registry, champion, Path(scratch))


def _fetched(registry: Registry, champion: ModelVersion, scratch: Path) -> Path:
    from pipeline.package import SERVABLE
    from pipeline.publication import registered_digest
    from serving.servable.manifest import verify_bundle

    root = registry.download(champion, "", scratch)
    verify_bundle(root / SERVABLE, registered_digest(champion), f"{champion.name} version {champion.version}")
    return root
