"""The reference statistics of a version, as they were sealed."""

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from pipeline.package import SERVABLE
from registry.client import ModelVersion, Registry
from registry.signing import registered_digest
from serving.servable.layout import MANIFEST, STATISTICS
from serving.servable.manifest import read_manifest
from slipway.errors import InputError, IntegrityError, NotFoundError
from slipway.files import sha256_file

if TYPE_CHECKING:
    from serving.servable.reference import Reference


def reference_of(registry: Registry, version: ModelVersion) -> "Reference":
    """What the registry has of `version`; nothing else of the servable is fetched.

    InputError for a version from before there were such statistics; IntegrityError for other bytes than the registered.
    """
    from serving.servable.reference import load_reference

    with tempfile.TemporaryDirectory(prefix="slipway-reference-") as scratch:
        local = registry.local_directory(version)
        bundle = local / SERVABLE if local is not None else _fetched(registry, version, Path(scratch))
        place = f"{version.name} version {version.version}"
        if not (bundle / STATISTICS).is_dir():
            raise InputError(
                f"{place} has no reference statistics, which servables have had since there was `slipway drift`. "
                "Train, register and promote a version with them."
            )
        _verify(bundle, registered_digest(version), place)
        return load_reference(bundle / STATISTICS)


def _fetched(registry: Registry, version: ModelVersion, into: Path) -> Path:
    manifest = registry.download(version, f"{SERVABLE}/{MANIFEST}", into)
    try:
        registry.download(version, f"{SERVABLE}/{STATISTICS}", into)
    except NotFoundError:
        return manifest.parent  # said in the same words as where the registry is on this disk
    return manifest.parent


def _verify(bundle: Path, digest: str, place: str) -> None:
    sealed = {MANIFEST: digest}
    if sha256_file(bundle / MANIFEST) == digest:
        files = read_manifest(bundle / MANIFEST).files
        sealed |= {path: entry.sha256 for path, entry in files.items() if path.startswith(f"{STATISTICS}/")}
    for path, expected in sealed.items():
        if not (bundle / path).is_file() or sha256_file(bundle / path) != expected:
            raise IntegrityError(
                f"{place}: {path} is not the registered one; expected sha256 {expected}. Restore the artifact store's "
                "copy, or register the run anew."
            )
