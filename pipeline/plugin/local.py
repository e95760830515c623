"""`mlflow deployments run-local`: a version served in the foreground, from a base path that is gone afterwards."""

import tempfile
from dataclasses import replace
from pathlib import Path

from pipeline.package import SERVABLE
from pipeline.plugin.model_uri import resolve
from pipeline.plugin.settings import Settings
from pipeline.progress import report
from pipeline.publication import registered_digest
from pipeline.signing.trust import verified_signature
from registry.client import Registry
from serving.model_config import LABELS_CONFIG, Wanted, labels_config
from serving.stores import Bundle, open_store
from serving.targets import ServeSpec, open_target
from serving.targets.process import run
from slipway.errors import SlipwayError


def serve_alone(settings: Settings, name: str, uri: str) -> None:
    """Serve what `uri` names as `name` until stopped."""
    registry = Registry()
    version = resolve(registry, uri)
    with tempfile.TemporaryDirectory(prefix="slipway-local-") as scratch:
        base = Path(scratch)
        verified_signature(settings.config, version)
        bundle = Bundle(registered_digest(version), lambda into: registry.download(version, SERVABLE, into))
        open_store(scratch).publish(name, version.version, bundle)
        config = labels_config(None, name, str(base / name), Wanted(version.version))
        assert config is not None
        (base / LABELS_CONFIG).write_bytes(config)
        spec = ServeSpec(name=name, base=base, rest_port=settings.rest_port, grpc_port=settings.grpc_port)
        if settings.runtime:
            spec = replace(spec, extra_args=(f"--runtime={settings.runtime}",))
        where = f"{name} is {version.name} version {version.version}"
        code = run(open_target("embedded"), spec, announce=lambda addresses: report(f"{where}, at {addresses}"))
    if code:
        raise SlipwayError(f"run-local: the server ended with exit code {code}. Its output says why.")
