"""Which variants of a version may answer, and in which order they are tried."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from serving.model_server.runtimes import AUTO, RUNTIMES, LoadRuntime, open_runtime, runtime_of
from serving.model_server.runtimes.classifier import Reference, open_variant
from serving.servable.layout import REFERENCE_VARIANT
from serving.servable.manifest import Manifest
from slipway.errors import IntegrityError

_TENSORFLOW, _LITERT = "tensorflow", "litert"


class Candidate(NamedTuple):
    """Something that may answer: its name, as `Variant` has it, and what loads it from the version directory."""

    name: str
    load: LoadRuntime


Choose = Callable[[Path, Manifest | None], Sequence[Candidate]]


def whole_directory(runtime: str) -> Choose:
    """Chooses the version directory itself as a model for that runtime, whatever the flags say."""

    def choose(_version_directory: Path, _manifest: Manifest | None) -> list[Candidate]:
        return [Candidate(runtime, open_runtime(runtime))]

    return choose


@dataclass(frozen=True)
class Chooser:
    """Chooses the `variant` of that name alone, or those that the `runtime` executes, or, with `auto`, any.

    prefer_tflite: where a version without manifest holds a model.tflite, that is served instead of its SavedModel.
    tags: those of the graph that is served of a SavedModel without manifest.
    threads: what executes a version that has a manifest has so many; None for one a core.
    """

    runtime: str = _TENSORFLOW
    variant: str = ""
    prefer_tflite: bool = False
    tags: frozenset[str] = frozenset({"serve"})
    threads: int | None = None

    def __call__(self, version_directory: Path, manifest: Manifest | None) -> list[Candidate]:
        """The candidates in the order of their measured throughput; without a manifest, the directory's own model.

        IntegrityError if the version has none that is wanted.
        """
        if manifest is None:
            name = self._runtime_for(version_directory)
            settings = {"tags": self.tags} if name == _TENSORFLOW else {}
            return [Candidate(name, open_runtime(name, **settings))]
        wanted = [name for name in manifest.variants if self._wants(name)]
        if not wanted:
            raise IntegrityError(
                f"{version_directory}: its manifest has variants {', '.join(sorted(manifest.variants))}; expected "
                f"{repr(self.variant) if self.variant else f'one for {self.runtime}'}. Choose a runtime for one of "
                "these, or build the servable with it."
            )
        wanted.sort(key=lambda name: _rank(name, manifest))
        return [Candidate(name, _loader(name, manifest, self.threads)) for name in wanted]

    def _wants(self, name: str) -> bool:
        if self.variant:
            return name == self.variant
        runtime = runtime_of(name)
        return runtime is not None if self.runtime == AUTO else runtime == self.runtime

    def _runtime_for(self, version_directory: Path) -> str:
        if self.prefer_tflite and (version_directory / RUNTIMES[_LITERT].model_file).is_file():
            return _LITERT
        if self.variant:
            return runtime_of(self.variant) or _TENSORFLOW
        if self.runtime != AUTO:
            return self.runtime
        present = (name for name, row in RUNTIMES.items() if (version_directory / row.model_file).is_file())
        return next(present, _TENSORFLOW)


def _rank(name: str, manifest: Manifest) -> tuple[bool, float, str]:
    """The fastest first. The reference last: variants that passed are faster, and it answers where they do not."""
    measured = manifest.variants[name].measured
    return name == REFERENCE_VARIANT, -(measured.throughput if measured else 0.0), name


def _loader(name: str, manifest: Manifest, threads: int | None) -> LoadRuntime:
    runtime = runtime_of(name)
    assert runtime is not None
    if name != REFERENCE_VARIANT:
        return open_variant(runtime, name, manifest, threads)
    return lambda version_directory: Reference(open_runtime(runtime, threads=threads)(version_directory))
