"""What objects have in common: their metadata, and what their containers may do."""

from typing import Any

from serving.kubernetes.names import (
    DIGEST_ANNOTATION,
    MODEL_ANNOTATION,
    NAME_LABEL,
    VERSION_LABEL,
    is_label_value,
)
from serving.kubernetes.spec import ServedVersion

Object = dict[str, Any]
USER = 10001  # of all our images


def model_labels(served: ServedVersion) -> dict[str, str]:
    """What every object of the model bears."""
    labels = {
        "app.kubernetes.io/name": "slipway",
        "app.kubernetes.io/managed-by": "slipway",
        NAME_LABEL: served.object_name,
    }
    return labels | ({MODEL_ANNOTATION: served.name} if is_label_value(served.name) else {})


def version_labels(served: ServedVersion) -> dict[str, str]:
    """What every object of the version bears, and its Pods."""
    return model_labels(served) | {VERSION_LABEL: str(served.version)}


def of_model(served: ServedVersion) -> dict[str, str]:
    """The labels by which Pods of any of the model's versions are chosen."""
    return {NAME_LABEL: served.object_name}


def of_version(served: ServedVersion) -> dict[str, str]:
    """The labels by which Pods of this version are chosen."""
    return of_model(served) | {VERSION_LABEL: str(served.version)}


def model_metadata(served: ServedVersion) -> Object:
    """The metadata of what all versions of the model share."""
    return {
        "name": served.object_name,
        "namespace": served.settings.namespace,
        "labels": model_labels(served),
        "annotations": {MODEL_ANNOTATION: served.name},
    }


def version_metadata(served: ServedVersion) -> Object:
    """The metadata of what is the version's own."""
    return {
        "name": served.version_name,
        "namespace": served.settings.namespace,
        "labels": version_labels(served),
        "annotations": version_annotations(served),
    }


def version_annotations(served: ServedVersion) -> dict[str, str]:
    """Which bytes they are."""
    return {MODEL_ANNOTATION: served.name, DIGEST_ANNOTATION: served.digest}


def pod_security() -> Object:
    """A Pod's security context, as the Pod Security Standard `restricted` wants it."""
    return {
        "runAsNonRoot": True,
        "runAsUser": USER,
        "runAsGroup": USER,
        "fsGroup": USER,
        "seccompProfile": {"type": "RuntimeDefault"},
    }


def container_security() -> Object:
    """A container's: it writes to its volumes alone."""
    return {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "runAsNonRoot": True,
        "capabilities": {"drop": ["ALL"]},
        "seccompProfile": {"type": "RuntimeDefault"},
    }


def from_secret(name: str) -> list[Object]:
    """A container's variables, from a Secret."""
    return [{"secretRef": {"name": name}}]


def every(period_s: int, for_s: int) -> Object:
    """A probe's patience: it fails once nothing has answered for that long."""
    return {"periodSeconds": period_s, "timeoutSeconds": 5, "failureThreshold": max(1, for_s // period_s)}
