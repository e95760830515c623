"""Names and labels that Kubernetes takes, from those that MLflow has."""

import hashlib
import re

from slipway.names import check_model_name, check_version

NAME_LABEL = "slipway/name"  # the object name: legal for any model, and what selectors ask for
VERSION_LABEL = "slipway/version"
CLIENT_LABEL = "slipway/client"  # "true" on a Pod: it may ask model servers
MODEL_ANNOTATION = "slipway/model"  # the model's name in the registry; a label of that key too, where it is a legal one
DIGEST_ANNOTATION = "slipway/digest"

_LONGEST = 63  # characters of a Service's name, and of a label's value
_LONGEST_VERSION = len("-v9223372036854775807-canary")
_SERVICE_NAME = re.compile(r"[a-z]([a-z0-9-]*[a-z0-9])?")
_LIKE_A_VERSION = re.compile(r"-v[0-9]+$")
_LABEL = re.compile(r"[A-Za-z0-9]([A-Za-z0-9_.-]{0,61}[A-Za-z0-9])?")


def object_name(model: str) -> str:
    """The name of a model's objects: RFC 1035, short enough for a version behind it, and of no other model.

    The model's own where that is such a name; else what is left of it, with eight digits of its SHA-256. InputError if
    it is no model's name.
    """
    longest = _LONGEST - _LONGEST_VERSION
    check_model_name(model)
    if _SERVICE_NAME.fullmatch(model) and len(model) <= longest and not _LIKE_A_VERSION.search(model):
        return model
    digits = hashlib.sha256(model.encode()).hexdigest()[:8]
    left = re.sub(r"[^a-z0-9]+", "-", model.lower()).lstrip("-0123456789") or "model"
    return f"{left[: longest - 9].strip('-')}-{digits}"


def version_name(model: str, version: int) -> str:
    """The name of the objects of one version of a model."""
    return f"{object_name(model)}-v{check_version(version)}"


def is_label_value(text: str) -> bool:
    """Whether a label may have that value."""
    return _LABEL.fullmatch(text) is not None
