"""The signature of a version: made once its number is known, kept as a tag, verified before the version is used."""

import base64

from registry.client import ModelVersion, Registry
from registry.register import MANIFEST_DIGEST
from slipway.errors import InputError
from slipway.keys import Signer
from slipway.statement import Statement, TrustedKeys, envelope

SIGNATURE = "slipway.signature"  # a DSSE envelope in base64: MLflow's UI shows tags as text


def sign_version(registry: Registry, version: ModelVersion, signer: Signer) -> bytes:
    """Sign the version as it is registered, in place of a signature that it may have; returns the signature.

    InputError for a version that was not registered with a manifest's digest.
    """
    signature = envelope(statement_of(version), signer)
    tags = {SIGNATURE: base64.standard_b64encode(signature).decode()}
    registry.set_tags(version.name, version.version, tags)
    return signature


def signature_of(version: ModelVersion) -> bytes | None:
    """The signature that the registry keeps of a version, not verified; None if there is none."""
    text = version.tags.get(SIGNATURE)
    if text is None:
        return None
    try:
        return base64.b64decode(text, validate=True)
    except ValueError:
        return text.encode()  # no envelope either, which whoever verifies it says


def verify_version(version: ModelVersion, keys: TrustedKeys) -> str:
    """The id of the trusted key that signed the version; IntegrityError, with the reason, if none did."""
    return keys.verify(signature_of(version), statement_of(version))


def statement_of(version: ModelVersion) -> Statement:
    """What is signed: name, number, and the manifest's digest that the version was registered with."""
    return Statement(version.name, version.version, registered_digest(version))


def registered_digest(version: ModelVersion) -> str:
    """The manifest's digest that the version was registered with; InputError if there is none."""
    digest = version.tags.get(MANIFEST_DIGEST)
    if not digest:
        raise InputError(
            f"{version.name} version {version.version} has no tag {MANIFEST_DIGEST}; expected a version that "
            "`slipway register` made. Register its run."
        )
    return digest
