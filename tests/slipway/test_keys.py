"""A private key is its owner's; what is trusted, and what is revoked, is read strictly."""

import os

import pytest

from slipway.errors import InputError, IntegrityError
from slipway.keys import add_revoked, create_key, listed_keys, load_public_key, load_signer, public_half
from slipway.statement import Statement, TrustedKeys, envelope


def test_a_private_key_is_its_owners_and_is_not_written_over(tmp_path):
    create_key(tmp_path / "mine.key")
    assert (tmp_path / "mine.key").stat().st_mode & 0o777 == 0o600
    with pytest.raises(InputError, match="is there already"):
        create_key(tmp_path / "mine.key")


@pytest.mark.parametrize("name", ["mine.key", "mine.pub.pem"])
def test_a_key_is_not_written_through_a_link_that_leads_elsewhere(tmp_path, name):
    (tmp_path / name).symlink_to(tmp_path / "elsewhere")
    with pytest.raises(InputError, match="is there already"):
        create_key(tmp_path / "mine.key")
    assert sorted(each.name for each in tmp_path.iterdir()) == [name]


def test_a_key_that_cannot_be_written_says_where(tmp_path):
    with pytest.raises(InputError, match=r"gone/mine\.key: cannot be written \(No such file"):
        create_key(tmp_path / "gone" / "mine.key")


def test_a_key_with_a_passphrase_needs_it(tmp_path):
    key_id = create_key(tmp_path / "mine.key", b"secret words")
    assert b"ENCRYPTED" in (tmp_path / "mine.key").read_bytes()
    assert load_signer(tmp_path / "mine.key", b"secret words").key_id == key_id
    for wrong in (None, b"other words"):
        with pytest.raises(InputError, match="expected one that `slipway keys create` made, and its passphrase"):
            load_signer(tmp_path / "mine.key", wrong)


def test_the_public_half_bears_the_same_id_and_the_signer_shows_no_secret(tmp_path):
    key_id = create_key(tmp_path / "mine.key")
    assert load_public_key(public_half(tmp_path / "mine.key"))[0] == key_id
    signer = load_signer(tmp_path / "mine.key")
    secret = (tmp_path / "mine.key").read_text().splitlines()[1]
    assert secret not in repr(signer)


def test_a_directory_without_keys_or_with_a_private_one_is_refused(tmp_path):
    with pytest.raises(InputError, match="holds no public key"):
        TrustedKeys(tmp_path)
    create_key(tmp_path / "mine.pem")
    with pytest.raises(InputError, match="A private key does not belong here"):
        TrustedKeys(tmp_path)


def trusted_with(folder, revoked):
    key_id = create_key(folder / "mine.key")
    (folder / "revoked.txt").write_bytes(revoked.replace(b"KEY", key_id.encode()))
    return key_id


@pytest.mark.parametrize("text", [b"KEY", b"\xef\xbb\xbfKEY\r\n", b"# all\n  KEY  # left\n"])
def test_a_revoked_key_is_found_however_the_list_was_written(tmp_path, text):
    key_id = trusted_with(tmp_path, text)
    assert [(each.key_id, each.state) for each in listed_keys(tmp_path)] == [(key_id, "revoked")]
    statement = Statement("digits", 3, "ab" * 32)
    signed = envelope(statement, load_signer(tmp_path / "mine.key"))
    with pytest.raises(IntegrityError, match=f"key {key_id} is revoked"):
        TrustedKeys(tmp_path).verify(signed, statement)


@pytest.mark.parametrize("text", [b"KEY by Ada", b"KEY, KEY", b"the key of Ada", b"\xff\xfeK"])
def test_a_list_of_revoked_keys_that_is_not_understood_is_refused_and_not_passed_by(tmp_path, text):
    trusted_with(tmp_path, text)
    with pytest.raises(InputError, match=r"revoked\.txt"):
        TrustedKeys(tmp_path)


def test_a_list_of_revoked_keys_that_leads_nowhere_is_refused(tmp_path):
    create_key(tmp_path / "mine.key")
    (tmp_path / "revoked.txt").symlink_to(tmp_path / "gone")
    with pytest.raises(InputError, match=r"revoked\.txt: cannot be read"):
        TrustedKeys(tmp_path)


def test_revoking_adds_to_the_list_once_and_takes_nothing_from_it(tmp_path):
    first, second = (create_key(tmp_path / f"{name}.key") for name in ("first", "second"))
    (tmp_path / "revoked.txt").write_text(f"# the list\n{'0' * 32}")
    for _ in range(2):
        add_revoked(tmp_path, first, "left\nthe company # really")
    assert (tmp_path / "revoked.txt").read_text() == f"# the list\n{'0' * 32}\n{first}  # left the company # really\n"
    states = {each.key_id: (each.state, each.file) for each in listed_keys(tmp_path)}
    assert states == {
        first: ("revoked", "first.pub.pem"),
        second: ("trusted", "second.pub.pem"),
        "0" * 32: ("revoked", ""),
    }
    TrustedKeys(tmp_path)


@pytest.mark.parametrize("key_id", ["", "0" * 31, "Ada", "0" * 32 + "\n"])
def test_only_a_key_s_id_is_revoked(tmp_path, key_id):
    with pytest.raises(InputError, match="is no key's id"):
        add_revoked(tmp_path, key_id)
    assert not os.path.lexists(tmp_path / "revoked.txt")


def test_a_key_of_another_kind_is_refused(tmp_path):
    from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, generate_private_key
    from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat

    key = generate_private_key(SECP256R1())
    (tmp_path / "ec.key").write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    public = key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    (tmp_path / "ec.pem").write_bytes(public)
    with pytest.raises(InputError, match="another kind of key"):
        load_signer(tmp_path / "ec.key")
    with pytest.raises(InputError, match="another kind of key"):
        TrustedKeys(tmp_path)
