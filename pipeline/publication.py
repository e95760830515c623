"""From the registry to the base path: verified bytes, and the configuration that model servers read."""

import tempfile
from collections.abc import Callable
from pathlib import Path

from pipeline.config import Config
from pipeline.package import SERVABLE
from registry.client import ModelVersion, Registry
from registry.register import MANIFEST_DIGEST
from serving.model_config import (
    LABELS_CONFIG,
    MODELS_CONFIG,
    Wanted,
    labels_config,
    live_version,
    models_config,
    stable_version,
)
from serving.servable.manifest import verify_bundle
from serving.stores import Bundle, Publication, open_store
from serving.stores.local import local_path
from slipway.errors import InputError

Live = Callable[[], tuple[int | None, int | None]]  # the champion and the one before it, as the registry has them now


def publish(config: Config, registry: Registry, version: ModelVersion) -> Publication:
    """Publish `version` below `config.base`, or find it there whole; every byte is held against the registered digest.

    The registry's own copy is verified too: damage there is found while the published copy is still whole.
    """
    digest = registered_digest(version)
    store = open_store(config.base)
    if version.version in store.versions(version.name):
        verify_source(registry, version)
    return store.publish(
        version.name, version.version, Bundle(digest, lambda into: registry.download(version, SERVABLE, into))
    )


def verify_source(registry: Registry, version: ModelVersion) -> None:
    """Hold the registry's copy, in place or else fetched, against its digest; IntegrityError names the file."""
    local = registry.local_directory(version)
    place = f"{version.name} version {version.version} in the artifact store"
    if local is not None:
        verify_bundle(local / SERVABLE, registered_digest(version), f"{place} ({local / SERVABLE})")
        return
    with tempfile.TemporaryDirectory(prefix="slipway-verify-") as scratch:
        verify_bundle(registry.download(version, SERVABLE, Path(scratch)), registered_digest(version), place)


def registered_digest(version: ModelVersion) -> str:
    """The manifest's digest that the version was registered with."""
    digest = version.tags.get(MANIFEST_DIGEST)
    if not digest:
        raise InputError(
            f"{version.name} version {version.version} has no tag {MANIFEST_DIGEST}; expected a version that "
            "`slipway register` made. Register its run."
        )
    return digest


def write_configs(config: Config, name: str, live: Live) -> None:
    """Tell running model servers what is live: `models.config` for any, `labels.config` for the embedded one.

    `live` is asked while a file is held: of two commands at once, the one that writes last has read last.
    """
    store = open_store(config.base)
    base = str(local_path(config.base) / name)

    def labels(text: bytes | None) -> bytes | None:
        champion, previous = live()
        kept = previous if previous in store.versions(name) else None
        return text if champion is None else labels_config(text, name, base, Wanted(champion, kept))

    def models(text: bytes | None) -> bytes | None:
        champion, _ = live()
        return text if champion is None else models_config(text, name, base, Wanted(champion))

    # Labels first: a server that reads them keeps both versions loaded, whichever file changes next.
    store.update_file(LABELS_CONFIG, labels)
    store.update_file(MODELS_CONFIG, models)


def configured(config: Config, name: str) -> tuple[int | None, int | None]:
    """The versions that `models.config` and `labels.config` have live."""
    store = open_store(config.base)
    models, labels = (store.update_file(file, lambda text: text) for file in (MODELS_CONFIG, LABELS_CONFIG))
    return live_version(models, name), stable_version(labels, name)
