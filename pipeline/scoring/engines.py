"""What has parts written: started when it is known that there is work for it."""

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from pipeline.config import Config
from pipeline.package import SERVABLE
from pipeline.publication import bundle_of
from pipeline.scoring.cores import usable_cores
from pipeline.scoring.items import Part, PartDone
from pipeline.scoring.workers import Job, started_workers
from registry.client import ModelVersion, Registry
from serving.model_server.runtimes import AUTO, RUNTIMES, runtime_of
from serving.servable.layout import MANIFEST, REFERENCE_VARIANT, published_path
from serving.servable.manifest import Manifest, read_manifest
from serving.stores.local import LocalStore
from slipway.errors import InputError

PROCESSES, SPARK = "processes", "spark"
_TENSORFLOW = "tensorflow"


class Engine(Protocol):
    """Something that answers by one variant."""

    def variant(self) -> str:
        """That variant's name."""

    def score(self, job: Job, parts: Iterator[Part]) -> Iterator[PartDone]:
        """Have the parts written; each is told of when it is, in whatever order."""


@dataclass(frozen=True)
class Wanted:
    """An engine, and what it is to run; None: as it is by default, or as the output was begun."""

    engine: str = PROCESSES
    runtime: str | None = None
    variant: str | None = None
    workers: int | None = None

    def check(self, config: Config) -> None:
        """InputError for what there is not, or what does not go together."""
        if self.engine not in {PROCESSES, SPARK}:
            raise InputError(f"--engine {self.engine}: expected {PROCESSES} or {SPARK}. Pass one of these.")
        if self.runtime is not None and self.runtime not in {*RUNTIMES, AUTO}:
            raise InputError(f"--runtime {self.runtime}: expected one of {', '.join((*RUNTIMES, AUTO))}. Pass one.")
        if self.runtime and self.variant:
            raise InputError(
                f"--runtime {self.runtime} and --variant {self.variant}: expected one of them. Leave one out."
            )
        if self.workers is not None and self.workers < 1:
            raise InputError(f"--workers {self.workers}: expected 1 or more. Pass another number.")
        if self.engine == SPARK and not self.takes(REFERENCE_VARIANT):
            raise InputError(
                f"--engine {SPARK} runs the registered MLflow model, {REFERENCE_VARIANT}; expected no other "
                f"--variant or --runtime. Leave it out, or pass --engine {PROCESSES}."
            )
        if self.engine == SPARK and config.gate.require_signature:
            raise InputError(
                f"--engine {SPARK}: runs what lies in a version's code/, and gate.require_signature is true; a "
                f"signature covers the servable alone. Pass --engine {PROCESSES}."
            )

    def takes(self, variant: str) -> bool:
        """Whether that variant will do; any will for processes where none was asked for."""
        if self.engine == SPARK and variant != REFERENCE_VARIANT:
            return False
        if self.variant is not None:
            return variant == self.variant
        return self.runtime in {None, AUTO, runtime_of(variant)}


def start(config: Config, version: ModelVersion, wanted: Wanted, scratch: Path) -> AbstractContextManager[Engine]:
    """The engine wanted until the block ends, from verified bytes of the version that are copied below `scratch`.

    IntegrityError for bytes that are not the registered ones, and for a variant that does not give its golden answers.
    """
    return (_on_spark if wanted.engine == SPARK else _by_processes)(config, version, wanted, scratch)


@contextmanager
def _by_processes(_config: Config, version: ModelVersion, wanted: Wanted, scratch: Path) -> Iterator[Engine]:
    from pipeline.scoring.classifying import Choice

    bundle = bundle_of(Registry(), version)
    directory = Path(LocalStore(str(scratch / "base")).publish(version.name, version.version, bundle).path)
    manifest = read_manifest(directory / published_path(MANIFEST))
    runtime = wanted.runtime or _TENSORFLOW
    if not any(wanted.takes(name) for name in manifest.variants):
        raise InputError(
            f"{version.name} version {version.version} has variants {', '.join(sorted(manifest.variants))}; expected "
            f"{wanted.variant or f'one for {runtime}'}. Pass another --variant or --runtime."
        )
    choice = Choice(directory, runtime, wanted.variant or "")
    with started_workers(choice, wanted.workers or usable_cores()) as workers:
        yield workers


@contextmanager
def _on_spark(_config: Config, version: ModelVersion, wanted: Wanted, scratch: Path) -> Iterator[Engine]:
    from pipeline.scoring.spark import Network, OnSpark, started_spark
    from pipeline.serve import fetched_model

    with started_spark(wanted.workers) as session:
        model = fetched_model(Registry(), version, scratch / "model")
        manifest: Manifest = read_manifest(model / SERVABLE / MANIFEST)
        yield OnSpark(session, model, Network(manifest.image_size, manifest.max_pixels))
