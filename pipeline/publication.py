"""From the registry to the base path: verified bytes, and the configuration that model servers read."""

from pathlib import Path

from pipeline.config import Config
from pipeline.package import SERVABLE
from registry.client import ModelVersion, Registry
from serving.model_config import LABELS_CONFIG, MODELS_CONFIG, labels_config, models_config
from serving.servable.manifest import verify_bundle
from serving.stores import Bundle, Publication, open_store
from slipway.errors import InputError

DIGEST_TAG = "slipway.manifest_digest"


def publish(config: Config, registry: Registry, version: ModelVersion) -> Publication:
    """Publish `version` below `config.base`, or find it there whole; every byte is held against the registered digest.

    Also the registry's own copy is verified where it lies on this machine's disk: damage there is found while the
    published copy is still whole.
    """
    digest = registered_digest(version)
    store = open_store(config.base)
    if version.version in store.versions(version.name):
        verify_source(registry, version)
    return store.publish(
        version.name, version.version, Bundle(digest, lambda into: registry.download(version, SERVABLE, into))
    )


def verify_source(registry: Registry, version: ModelVersion) -> None:
    """Hold the registry's copy, where it can be read in place, against its digest; IntegrityError names the file."""
    local = registry.local_directory(version)
    if local is not None:
        place = f"{version.name} version {version.version} in the artifact store"
        verify_bundle(local / SERVABLE, registered_digest(version), f"{place} ({local / SERVABLE})")


def registered_digest(version: ModelVersion) -> str:
    """The manifest's digest that the version was registered with."""
    digest = version.tags.get(DIGEST_TAG)
    if not digest:
        raise InputError(
            f"{version.name} version {version.version} has no tag {DIGEST_TAG}; expected a version that "
            "`slipway register` made. Register its run."
        )
    return digest


def write_configs(config: Config, name: str, champion: int, previous: int | None) -> None:
    """Tell running model servers what is live: `models.config` for any, `labels.config` for the embedded one."""
    store = open_store(config.base)
    base = str(Path(config.base, name).absolute())
    kept = previous if previous in store.versions(name) else None
    # Labels first: a server that reads them keeps both versions loaded, whichever file changes next.
    store.update_file(LABELS_CONFIG, lambda text: labels_config(text, name, base, champion, kept))
    store.update_file(MODELS_CONFIG, lambda text: models_config(text, name, base, champion))
