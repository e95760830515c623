"""From the registry to the base path: verified bytes, and the configuration that model servers read."""

from pathlib import Path

from pipeline.config import Config
from pipeline.package import SERVABLE
from registry.client import ModelVersion, Registry
from registry.register import MANIFEST_DIGEST
from serving.servable.manifest import verify_bundle
from serving.stores import Bundle, Publication, open_store
from slipway.errors import InputError, IntegrityError, NotFoundError


def publish(config: Config, registry: Registry, version: ModelVersion) -> Publication:
    """Publish `version` below `config.base`, or find it there whole; every byte is held against the registered digest.

    The registry's own copy is verified too: damage there is found while the published copy is still whole.
    """
    digest = registered_digest(version)
    store = open_store(config.base)
    if version.version in store.versions(version.name):
        verify_source(registry, version)
    return store.publish(version.name, version.version, Bundle(digest, lambda into: _fetched(registry, version, into)))


def _fetched(registry: Registry, version: ModelVersion, into: Path) -> Path:
    try:
        return registry.download(version, SERVABLE, into)
    except NotFoundError as error:
        raise IntegrityError(str(error)) from error  # the version is registered, and its bytes are not there


def verify_source(registry: Registry, version: ModelVersion) -> None:
    """Hold the registry's copy against its digest, where it lies on this machine's disk; IntegrityError names the file.

    One elsewhere is not fetched for that: what serves is the published copy, and a publication verifies what it takes.
    """
    local = registry.local_directory(version)
    if local is not None:
        place = f"{version.name} version {version.version} in the artifact store ({local / SERVABLE})"
        verify_bundle(local / SERVABLE, registered_digest(version), place)


def registered_digest(version: ModelVersion) -> str:
    """The manifest's digest that the version was registered with."""
    digest = version.tags.get(MANIFEST_DIGEST)
    if not digest:
        raise InputError(
            f"{version.name} version {version.version} has no tag {MANIFEST_DIGEST}; expected a version that "
            "`slipway register` made. Register its run."
        )
    return digest
