"""Whose signatures count, and what follows from that for a version of the registry: closed where one is missing."""

from pathlib import Path

from pipeline.config import Config
from registry.client import ModelVersion
from registry.gate import SignatureCheck
from registry.signing import signature_of, verify_version
from serving.stores.local import local_path
from slipway.errors import InputError, IntegrityError
from slipway.statement import TrustedKeys, check_apart


def trusted_keys(config: Config) -> TrustedKeys:
    """The keys whose signatures count; InputError if there are none, or if they lie inside the base path."""
    directory = keys_directory(config)
    if not config.base_is_remote:
        check_apart(directory, local_path(config.base))
    return TrustedKeys(directory)


def keys_directory(config: Config) -> Path:
    """Where the public keys lie; InputError if the configuration does not say."""
    if not config.signing.trusted_keys:
        raise InputError(
            "signing.trusted_keys is missing; expected the directory of the public keys whose signatures count, since "
            "one is to be verified. Give it in the file, or pass --trusted-keys DIR."
        )
    return Path(config.signing.trusted_keys)


def check_runs_signed_bytes_only(config: Config) -> None:
    """InputError for what runs `code/` of a version, which no signature covers, where one is required."""
    if config.gate.require_signature:
        raise InputError(
            "target mlflow: runs what lies in a version's code/, and gate.require_signature is true; a signature "
            "covers the servable alone. Serve with --target embedded."
        )


def required_keys(config: Config) -> Path | None:
    """The directory of the keys that whatever serves is to ask for; None if no signature is required."""
    return keys_directory(config).absolute() if config.gate.require_signature else None


def signature_check(config: Config, version: ModelVersion) -> SignatureCheck:
    """What became of a version's signature, for the gate."""
    try:
        return SignatureCheck(key_id=verify_version(version, trusted_keys(config)))
    except IntegrityError as error:
        return SignatureCheck(problem=str(error))


def verified_signature(config: Config, version: ModelVersion) -> bytes | None:
    """The version's signature, to be published with it; IntegrityError if one is required and this one is no good."""
    if config.gate.require_signature:
        verify_version(version, trusted_keys(config))
    return signature_of(version)
