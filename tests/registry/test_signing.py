"""A version's signature is a tag of it, for its name, its number and its digest as they are registered."""

import pytest

from registry.register import MANIFEST_DIGEST
from registry.signing import SIGNATURE, sign_version, signature_of, verify_version
from slipway.errors import InputError, IntegrityError
from slipway.statement import TrustedKeys
from tests.signed import make_keys


@pytest.fixture
def keys(tmp_path):
    return make_keys(tmp_path / "keys")


@pytest.fixture
def version(world):
    return world.version(tags={MANIFEST_DIGEST: "ab" * 32})


def again(world, version):
    return world.registry.version(version.name, version.version)


def test_a_signed_version_is_verified_from_what_the_registry_keeps(world, version, keys):
    assert signature_of(version) is None
    signature = sign_version(world.registry, version, keys.good)
    found = again(world, version)
    assert signature_of(found) == signature
    assert verify_version(found, TrustedKeys(keys.trusted)) == keys.good.key_id


def test_signing_again_replaces_the_signature(world, version, keys):
    for signer in (keys.unknown, keys.good):
        sign_version(world.registry, version, signer)
    assert verify_version(again(world, version), TrustedKeys(keys.trusted)) == keys.good.key_id


def test_a_tag_that_moves_to_another_version_or_a_digest_that_changes_is_found(world, version, keys):
    sign_version(world.registry, version, keys.good)
    tags = again(world, version).tags
    other = world.version(tags={MANIFEST_DIGEST: tags[MANIFEST_DIGEST], SIGNATURE: tags[SIGNATURE]})
    with pytest.raises(IntegrityError, match="its signature is for digits version 1"):
        verify_version(other, TrustedKeys(keys.trusted))
    world.registry.set_tags("digits", 1, {MANIFEST_DIGEST: "cd" * 32})
    with pytest.raises(IntegrityError, match=f"with manifest {'ab' * 32}; expected manifest {'cd' * 32}"):
        verify_version(again(world, version), TrustedKeys(keys.trusted))


@pytest.mark.parametrize("text", ["", "no base64!", "bm8gSlNPTg=="])
def test_a_tag_that_is_no_signature_is_refused_and_not_taken_for_none(world, version, keys, text):
    world.registry.set_tags("digits", 1, {SIGNATURE: text})
    found = again(world, version)
    with pytest.raises(IntegrityError, match="digits version 1"):
        verify_version(found, TrustedKeys(keys.trusted))


def test_a_version_that_slipway_did_not_register_is_not_signed(world, keys):
    with pytest.raises(InputError, match=r"has no tag slipway\.manifest_digest"):
        sign_version(world.registry, world.version(), keys.good)
