"""From the registry to the base path: verified bytes, and the configuration that model servers read."""

import tempfile
from pathlib import Path

from pipeline.config import Config
from pipeline.package import SERVABLE
from pipeline.signing.trust import verified_signature
from registry.client import ModelVersion, Registry
from registry.signing import registered_digest
from serving.servable.verification import verify_bundle
from serving.stores import Bundle, Publication, open_store
from slipway.errors import IntegrityError, NotFoundError

__all__ = ["bundle_of", "publish", "registered_digest", "verify_registered", "verify_source"]


def publish(config: Config, registry: Registry, version: ModelVersion) -> Publication:
    """Publish `version` below `config.base`, or find it there whole; every byte is held against the registered digest.

    The registry's own copy is verified too: damage there is found while the published copy is still whole.
    Where a signature is required it is verified before anything is fetched; it is published with the version, and in
    place of another one that lies beside it.
    """
    bundle = bundle_of(registry, version, verified_signature(config, version))
    store = open_store(config.base)
    if version.version in store.versions(version.name):
        verify_source(registry, version)
    return store.publish(version.name, version.version, bundle)


def bundle_of(registry: Registry, version: ModelVersion, signature: bytes | None = None) -> Bundle:
    """The version as a store takes it: what is fetched is held against the registered digest."""
    return Bundle(registered_digest(version), lambda into: _fetched(registry, version, into), signature)


def _fetched(registry: Registry, version: ModelVersion, into: Path) -> Path:
    try:
        return registry.download(version, SERVABLE, into)
    except NotFoundError as error:
        raise IntegrityError(str(error)) from error  # the version is registered, and its bytes are not there


def verify_registered(registry: Registry, version: ModelVersion) -> None:
    """Hold the registry's copy against its digest, wherever it lies; IntegrityError names the file."""
    if registry.local_directory(version) is not None:
        verify_source(registry, version)
        return
    with tempfile.TemporaryDirectory(prefix="slipway-registered-") as scratch:
        place = f"{version.name} version {version.version} in the artifact store"
        verify_bundle(_fetched(registry, version, Path(scratch)), registered_digest(version), place)


def verify_source(registry: Registry, version: ModelVersion) -> None:
    """Hold the registry's copy against its digest, where it lies on this machine's disk; IntegrityError names the file.

    One elsewhere is not fetched for that: what serves is the published copy, and a publication verifies what it takes.
    """
    local = registry.local_directory(version)
    if local is not None:
        place = f"{version.name} version {version.version} in the artifact store ({local / SERVABLE})"
        verify_bundle(local / SERVABLE, registered_digest(version), place)
