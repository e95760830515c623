"""A version of the registry as a cluster is told to serve it: its manifests, as files or as one stream."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pipeline.config import Config, as_yaml
from pipeline.publication import registered_digest
from pipeline.s3_endpoint import told_endpoint
from pipeline.signing.trust import verified_signature
from registry.client import ModelVersion
from serving.cluster.stamps import owner_of
from serving.kubernetes.kserve import kserve_objects
from serving.kubernetes.manifests import all_objects
from serving.kubernetes.spec import ServedVersion
from slipway.errors import InputError
from slipway.files import write_atomically

KUBERNETES, KSERVE = TARGETS = ("kubernetes", "kserve")
KUSTOMIZATION = "kustomization.yaml"


def served_version(config: Config, version: ModelVersion) -> ServedVersion:
    """What a cluster is to serve; IntegrityError if a signature is required and the version has no good one.

    InputError if one is required, and what serves in the cluster would not ask for it.
    """
    verified_signature(config, version)
    if config.gate.require_signature and not config.kubernetes.trusted_keys_map:
        raise InputError(
            "kubernetes.trusted_keys_map is missing; expected the ConfigMap of the public keys, since "
            "gate.require_signature is true. Make it of signing.trusted_keys, and pass --trusted-keys-map NAME."
        )
    digest = registered_digest(version)
    endpoint = told_endpoint(config) or None
    return ServedVersion(version.name, version.version, digest, config.base, endpoint, config.kubernetes)


def manifests(served: ServedVersion, target: str, canary_percent: int | None = None) -> dict[str, dict[str, Any]]:
    """The objects of a target by the names of their files, in the order in which they are applied."""
    if target not in TARGETS:
        raise InputError(f"target {target!r} is unknown; expected one of {', '.join(TARGETS)}. Pass another --target.")
    if canary_percent is not None and target != KSERVE:
        raise InputError("--canary-percent is KServe's; expected --target kserve. Pass that, or leave it out.")
    if target == KSERVE:
        objects = kserve_objects(served, canary_percent)
    else:
        owner = owner_of(served.name, served.base, served.s3_endpoint)
        objects = [owner.marked(each) for each in all_objects(served)]
    return {f"{each['metadata']['name']}-{each['kind'].lower()}.yaml": each for each in objects}


def stream(files: Mapping[str, dict[str, Any]]) -> str:
    """All objects as one stream of YAML documents."""
    return "---\n".join(map(as_yaml, files.values()))


def write_manifests(files: Mapping[str, dict[str, Any]], to: Path) -> Path:
    """Write a file for each object to the folder `to`, and last a kustomization.yaml that names them; returns `to`.

    Other files there stay. InputError if it can be no folder.
    """
    if not to.is_dir():
        if to.exists() or not to.parent.is_dir():
            raise InputError(f"--to {to}: expected a folder, or a new one in a folder that exists. Pass another path.")
        to.mkdir()
    for name, each in files.items():
        write_atomically(to / name, as_yaml(each).encode())
    kustomization = {
        "apiVersion": "kustomize.config.k8s.io/v1beta1",
        "kind": "Kustomization",
        "resources": list(files),
    }
    write_atomically(to / KUSTOMIZATION, as_yaml(kustomization).encode())
    return to
