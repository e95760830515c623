"""A statement holds for one name, one version, one manifest, and only if a trusted key signed it."""

import base64
import json

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from slipway.errors import InputError, IntegrityError
from slipway.keys import create_key, load_signer
from slipway.statement import Statement, TrustedKeys, check_apart, envelope

DIGEST = "ab" * 32
STATEMENT = Statement("digits", 3, DIGEST)


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A key that is trusted, one that is revoked, one that nobody knows; and what a verifier trusts."""
    folder = tmp_path_factory.mktemp("keys")
    trusted = folder / "trusted"
    trusted.mkdir()
    ids = {name: create_key(folder / f"{name}.key") for name in ("good", "revoked", "unknown")}
    for name in ("good", "revoked"):
        (folder / f"{name}.pub.pem").rename(trusted / f"{name}.pem")
    (trusted / "revoked.txt").write_text(f"# left the company\n{ids['revoked']}  # 2026-01-01\n")
    return {name: load_signer(folder / f"{name}.key") for name in ids}, TrustedKeys(trusted)


def test_what_a_trusted_key_signed_is_accepted_and_the_key_named(made):
    signers, keys = made
    assert keys.verify(envelope(STATEMENT, signers["good"]), STATEMENT) == signers["good"].key_id


@pytest.mark.parametrize(("who", "why"), [("revoked", "is revoked"), ("unknown", "is not among those trusted in")])
def test_what_another_key_signed_is_refused_with_the_reason(made, who, why):
    signers, keys = made
    with pytest.raises(IntegrityError, match=f"key {signers[who].key_id} {why}"):
        keys.verify(envelope(STATEMENT, signers[who]), STATEMENT)


@pytest.mark.parametrize("other", [("digits", 4, DIGEST), ("letters", 3, DIGEST), ("digits", 3, "cd" * 32)])
def test_a_statement_for_anything_else_is_refused_and_says_what_it_is_for(made, other):
    signers, keys = made
    signed = Statement(*other)
    with pytest.raises(IntegrityError, match=f"its signature is for {signed.name} version {signed.version}"):
        keys.verify(envelope(signed, signers["good"]), STATEMENT)


def test_no_signature_is_none(made):
    with pytest.raises(IntegrityError, match="digits version 3: is not signed"):
        made[1].verify(None, STATEMENT)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_no_altered_byte_is_accepted(made, data):
    signers, keys = made
    sealed = envelope(STATEMENT, signers["good"])
    altered = bytearray(sealed)
    altered[data.draw(st.integers(0, len(sealed) - 1))] ^= data.draw(st.integers(1, 255))
    try:
        same = json.loads(altered) == json.loads(sealed)  # another way to write it
    except ValueError:
        same = False
    if not same:
        with pytest.raises(IntegrityError):
            keys.verify(bytes(altered), STATEMENT)


@given(st.binary(max_size=200) | st.builds(lambda value: json.dumps(value).encode(), st.recursive(st.none(), st.lists)))
def test_nothing_else_is_taken_for_an_envelope(made, data):
    with pytest.raises(IntegrityError, match="digits version 3"):
        made[1].verify(data, STATEMENT)


def test_another_key_s_signature_under_a_trusted_id_is_no_use(made):
    signers, keys = made
    document = json.loads(envelope(STATEMENT, signers["unknown"]))
    document["signatures"][0]["keyid"] = signers["good"].key_id
    with pytest.raises(IntegrityError, match="did not make this signature"):
        keys.verify(json.dumps(document).encode(), STATEMENT)


@pytest.mark.parametrize(
    "payload",
    [
        {"predicate": {"name": "digits", "version": float("inf")}},
        {"predicate": {"name": "digits", "version": "9" * 5000}},
        {"subject": [], "predicate": None},
    ],
)
def test_what_nobody_trusted_has_signed_is_not_read_and_cannot_break_who_reads_it(made, payload):
    signers, keys = made
    statement = {"_type": "https://in-toto.io/Statement/v1", "subject": [{"digest": {"sha256": DIGEST}}], **payload}
    document = json.loads(envelope(STATEMENT, signers["unknown"]))
    document["payload"] = base64.b64encode(json.dumps(statement).encode()).decode()
    with pytest.raises(IntegrityError, match="is not among those trusted"):
        keys.verify(json.dumps(document).encode(), STATEMENT)


@pytest.mark.parametrize("key_id", ["x\nError: all is well", "\x1b[2J", "A" * 32, "0" * 33, 7, None])
def test_a_key_id_that_is_none_is_not_repeated_as_it_stands(made, key_id):
    signers, keys = made
    document = json.loads(envelope(STATEMENT, signers["good"]))
    document["signatures"][0]["keyid"] = key_id
    with pytest.raises(IntegrityError, match="where a key's id is expected") as caught:
        keys.verify(json.dumps(document).encode(), STATEMENT)
    assert str(caught.value).isprintable()


def test_an_envelope_of_megabytes_is_refused_unread(made):
    signers, keys = made
    document = json.loads(envelope(STATEMENT, signers["good"])) | {"more": "x" * 2**20}
    with pytest.raises(IntegrityError, match="cannot be read"):
        keys.verify(json.dumps(document).encode(), STATEMENT)


def test_a_revoked_key_s_signature_beside_a_good_one_takes_nothing_from_it(made):
    signers, keys = made
    document = json.loads(envelope(STATEMENT, signers["revoked"]))
    document["signatures"] += json.loads(envelope(STATEMENT, signers["good"]))["signatures"]
    assert keys.verify(json.dumps(document).encode(), STATEMENT) == signers["good"].key_id


def test_keys_that_lie_in_what_they_protect_are_refused(tmp_path):
    base = tmp_path / "base"
    (base / "keys").mkdir(parents=True)
    (tmp_path / "link").symlink_to(base / "keys")
    for inside in (base, base / "keys", tmp_path / "base" / ".." / "base" / "keys", tmp_path / "link"):
        with pytest.raises(InputError, match="which they are to protect"):
            check_apart(inside, base)
    check_apart(tmp_path / "keys", base)
    check_apart(tmp_path / "base-keys", base)


@pytest.mark.parametrize("file", ["good.pem", "revoked.txt"])
def test_a_key_that_is_a_link_to_what_it_protects_is_refused(tmp_path, file):
    base, keys = tmp_path / "base", tmp_path / "keys"
    for directory in (base, keys, tmp_path / "mounted"):
        directory.mkdir()
        (directory / file).touch()
    (keys / file).unlink()
    (keys / file).symlink_to(tmp_path / "mounted" / file)
    check_apart(keys, base)
    (keys / file).unlink()
    (keys / file).symlink_to(base / file)
    with pytest.raises(InputError, match=rf"keys/{file}: .*which they are to protect"):
        check_apart(keys, base)
