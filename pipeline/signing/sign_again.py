"""A registered version signed with the key that is in use now: after a rotation, or for one that never was signed."""

from pipeline.config import Config
from pipeline.publication import verify_registered
from pipeline.signing.signer import configured_signer
from pipeline.signing.trust import trusted_keys
from registry.client import ModelVersion, Registry
from registry.signing import sign_version, signature_of, statement_of
from serving.stores import open_store
from slipway.errors import InputError, IntegrityError


def sign_again(config: Config, number: int, *, force: bool = False) -> str:
    """Sign the version, whose bytes are held against its digest first; what was done, in words.

    IntegrityError if it has a signature that is not by a trusted key, unless `force`: what is not as it was signed must
    not become so by being signed again. Of a version whose signature is gone from the registry, the one beside its
    published bytes is looked at.
    """
    signer = configured_signer(config.signing)
    if signer is None:
        raise InputError(
            "signing.key is missing; expected the file of the private key to sign with. Pass --signing-key FILE."
        )
    registry = Registry()
    version = registry.version(config.name, number)
    place = f"{version.name} version {version.version}"
    signature = signature_of(version) or open_store(config.base).signature(version.name, version.version)
    before = "was not signed"
    if signature is not None:
        unseen = "in place of a signature that was not looked at"
        before = unseen if force else f"was signed by key {_trusted_key(config, version, signature)}"
    verify_registered(registry, version)
    sign_version(registry, version, signer)
    export = f"slipway export --name {version.name} --version {version.version}"
    return f"{place}: signed by key {signer.key_id}, {before}\nnext: {export}"


def _trusted_key(config: Config, version: ModelVersion, signature: bytes) -> str:
    try:
        return trusted_keys(config).verify(signature, statement_of(version))
    except IntegrityError as error:
        raise IntegrityError(f"{error} To sign it all the same, find out why, and pass --force.") from error
