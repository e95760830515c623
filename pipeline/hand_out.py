"""Hand out one variant of a version as a file, for programs and devices that run it without a server."""

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from pipeline.package import SERVABLE
from pipeline.publication import registered_digest
from registry.client import ModelVersion, Registry
from serving.servable.golden import GOLDEN_FILE
from serving.servable.layout import LABELS, REFERENCE_VARIANT, variant_path
from serving.servable.manifest import Manifest
from serving.servable.verification import verify_bundle
from slipway.errors import InputError
from slipway.files import write_atomically


@dataclass(frozen=True)
class Handout:
    """The files that were written."""

    model: Path
    labels: Path
    size_bytes: int  # of the model


def hand_out(registry: Registry, version: ModelVersion, variant: str, to: Path) -> Handout:
    """Write the variant's model as the file `to`, and the labels, a JSON list, beside it as `<to>.labels.json`.

    Every byte of the version's servable is held against its registered digest first. InputError for a variant that the
    version does not have, or that is more than one file.
    """
    if not to.parent.is_dir() or to.is_dir():
        raise InputError(f"--to {to}: expected a file in a folder that exists. Pass another path.")
    with _servable(registry, version) as servable:
        manifest = verify_bundle(servable, registered_digest(version), f"{version.name} version {version.version}")
        model = (servable / _model_file(manifest, version, variant)).read_bytes()
        labels = to.with_name(f"{to.name}.labels.json")
        write_atomically(labels, (servable / LABELS).read_bytes())
        write_atomically(to, model)
    return Handout(to, labels, len(model))


def _model_file(manifest: Manifest, version: ModelVersion, variant: str) -> str:
    place = f"{version.name} version {version.version}"
    folder = f"{variant_path(variant)}/"
    files = [path for path in manifest.files if path.startswith(folder) and path != f"{folder}{GOLDEN_FILE}"]
    if not files:
        there = ", ".join(name for name in sorted(manifest.variants) if name != REFERENCE_VARIANT) or "none"
        refused = manifest.refused_variants.get(variant)
        because = f" It was refused: {refused}." if refused else ""
        raise InputError(
            f"{place} has no variant {variant!r} that is a file; expected one of its own: {there}.{because} "
            "Pass another --variant, or train with --variants."
        )
    if len(files) > 1:
        raise InputError(
            f"{place}: variant {variant!r} is {len(files)} files; expected one that is a single file. "
            "Pass a litert or onnx --variant."
        )
    return files[0]


@contextmanager
def _servable(registry: Registry, version: ModelVersion) -> Iterator[Path]:
    local = registry.local_directory(version)
    if local is not None:
        yield local / SERVABLE
        return
    with tempfile.TemporaryDirectory(prefix="slipway-hand-out-") as scratch:
        yield registry.download(version, SERVABLE, Path(scratch))
