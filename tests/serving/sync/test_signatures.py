"""What nobody who is trusted has signed is neither fetched nor kept; what is signed again is taken over."""

import logging
import re
from dataclasses import replace

import pytest
from click.testing import CliRunner

from serving.servable.layout import published_path
from serving.stores import open_store
from serving.sync.__main__ import main
from serving.sync.mirror import Mirror, Places
from slipway.errors import InputError, UnavailableError
from tests.serving.stores.bundles import bundle_of, make_bundle
from tests.signed import FORGERIES, make_keys, signed


class Bucket:
    """Versions 1 and 2 of `digits` in S3, signed by the good key, and a mirror that asks for that. See Place."""

    def __init__(self, base, folder, server):
        self.base, self.folder, self.client = base, folder, server.client
        self.keys = make_keys(folder / "keys")
        (folder / "local").mkdir()
        self.remote, self.local = open_store(base), open_store(str(folder / "local"))
        self.digests = {version: make_bundle(folder / f"source-{version}", seed=version) for version in (1, 2)}
        for version in self.digests:
            self.publish(version, self.keys.good)
        self.mirror = self.made()

    def made(self, remote=None):
        places = Places(self.base, str(self.folder / "local"))
        return Mirror(remote or self.remote, self.local, places, trusted_keys=self.keys.trusted)

    def publish(self, version, signer):
        digest = self.digests[version]
        bundle = bundle_of(self.folder / f"source-{version}", digest)
        self.remote.publish("digits", version, replace(bundle, signature=signed("digits", version, digest, signer)))

    def _object(self, below):
        bucket, _, prefix = self.base.removeprefix("s3://").partition("/")
        return {"Bucket": bucket, "Key": f"{prefix}/digits/{below}"}

    def read(self, path, version=2):
        return self.client.get_object(**self._object(f"{version}/{published_path(path)}"))["Body"].read()

    def write(self, path, data):
        where = self._object(f"2/{published_path(path)}")
        if data is None:
            self.client.delete_object(**where)
        else:
            self.client.put_object(**where, Body=data)

    def sign(self, signer):
        self.put_signature(signed("digits", 2, self.digests[2], signer))

    def put_signature(self, data):
        self.client.put_object(**self._object("2.signature.json"), Body=data)

    def remove_signature(self):
        self.client.delete_object(**self._object("2.signature.json"))

    def put_older_back(self):
        for path in (*self.remote.verify("digits", 1, self.digests[1]).files, "manifest.json"):
            self.write(path, self.read(path, version=1))
        self.put_signature(self.remote.signature("digits", 1))

    def rotate(self):
        """Both versions are signed by another key, which is trusted now; the old one is revoked."""
        (self.keys.folder / "unknown.pub.pem").rename(self.keys.trusted / "new.pem")
        for version in self.digests:
            self.publish(version, self.keys.unknown)
        self.keys.revoke(self.keys.good)


@pytest.fixture
def bucket(tmp_path, s3_server):
    return Bucket(s3_server.bucket_for(tmp_path), tmp_path, s3_server)


def refused(turn, version=2):
    return turn.refused["digits", version]


def test_what_a_trusted_key_has_signed_is_fetched_with_its_signature(bucket):
    turn = bucket.mirror.turn()
    assert (sorted(turn.fetched), turn.refused) == ([("digits", 1), ("digits", 2)], {})
    assert bucket.local.signature("digits", 2) == bucket.remote.signature("digits", 2)


@pytest.mark.parametrize("forgery", FORGERIES)
def test_a_version_that_is_not_as_it_was_signed_is_not_fetched(bucket, forgery):
    forge, why = FORGERIES[forgery]
    forge(bucket, bucket.keys)
    turn = bucket.mirror.turn()
    assert turn.fetched == [("digits", 1)]
    assert re.search(why, refused(turn))
    assert bucket.local.versions("digits") == (1,)


@pytest.mark.parametrize("signature", [None, b"", b"{}", b"\xff" * 100])
def test_a_version_with_no_signature_is_not_even_downloaded(bucket, signature, monkeypatch):
    bucket.remove_signature() if signature is None else bucket.put_signature(signature)
    downloaded = []
    monkeypatch.setattr(bucket.remote._bucket, "download", downloaded.extend)
    bucket.remote.remove("digits", 1)
    assert "signature" in refused(bucket.mirror.turn())
    assert downloaded == []


def test_a_version_that_is_signed_later_is_fetched_in_the_next_turn(bucket):
    bucket.remove_signature()
    assert bucket.mirror.turn().fetched == [("digits", 1)]
    bucket.sign(bucket.keys.good)
    assert bucket.mirror.turn().fetched == [("digits", 2)]


def test_a_rotation_takes_nothing_away_and_the_new_signatures_are_here(bucket):
    bucket.mirror.turn()
    bucket.rotate()
    turn = bucket.mirror.turn()
    assert (turn.fetched, turn.removed, turn.refused) == ([], [], {})
    assert bucket.local.signature("digits", 2) == signed("digits", 2, bucket.digests[2], bucket.keys.unknown)


def test_what_a_revoked_key_has_signed_goes_and_the_log_says_so_once(bucket, caplog):
    bucket.mirror.turn()
    bucket.keys.revoke(bucket.keys.good)  # nobody is trusted any more
    with caplog.at_level(logging.ERROR):
        turn = bucket.mirror.turn()
        assert sorted(turn.removed) == [("digits", 1), ("digits", 2)]
        bucket.mirror.turn()
    said = [each.message for each in caplog.records if "removed here, where it may have been served" in each.message]
    assert len(said) == 2
    assert f"key {bucket.keys.good.key_id} is revoked" in said[0]
    assert bucket.local.versions("digits") == ()


class Away:
    """A store that only fails."""

    def __init__(self, error):
        self.error = error

    def names(self):
        raise self.error

    def signature(self, _name, _version):
        raise self.error


@pytest.mark.parametrize("error", [UnavailableError("no answer"), InputError("wrong credentials")])
def test_a_revoked_key_is_refused_at_the_start_also_while_s3_is_away(bucket, error):
    bucket.mirror.turn()
    bucket.made(Away(error)).put_out()
    assert bucket.local.versions("digits") == (1, 2)
    bucket.keys.revoke(bucket.keys.good)
    mirror = bucket.made(Away(error))
    mirror.put_out()
    assert bucket.local.versions("digits") == ()
    with pytest.raises(type(error)):
        mirror.turn()


def test_a_damaged_version_here_keeps_no_other_from_its_new_signature(bucket):
    mirror = Mirror(bucket.remote, bucket.local, Places(bucket.base, str(bucket.folder / "local")))
    mirror.turn()
    (bucket.folder / "local/digits/1/assets.extra/slipway/manifest.json").unlink()
    for version in (1, 2):
        bucket.publish(version, bucket.keys.unknown)
    assert "digits/1 is another servable" in refused(mirror.turn(), 1)
    assert bucket.local.signature("digits", 2) == bucket.remote.signature("digits", 2)


@pytest.mark.parametrize("how", ["gone", "unknown"])
def test_what_is_here_with_a_good_signature_stays_whatever_becomes_of_the_one_there(bucket, how, caplog):
    bucket.mirror.turn()
    good = bucket.local.signature("digits", 2)
    bucket.remove_signature() if how == "gone" else bucket.sign(bucket.keys.unknown)
    turn = bucket.mirror.turn()
    assert (turn.removed, bucket.local.signature("digits", 2)) == ([], good)
    assert "what is here stays as it is" in refused(turn)


def test_keys_that_cannot_be_read_take_nothing_away(bucket):
    bucket.mirror.turn()
    (bucket.keys.trusted / "good.pem").write_text("no key")
    with pytest.raises(InputError, match=r"good\.pem"):
        bucket.mirror.turn()
    assert bucket.local.versions("digits") == (1, 2)


def test_a_manifest_that_cannot_be_read_keeps_no_other_version_from_coming(bucket):
    bucket.client.put_object(**bucket._object("2/assets.extra/slipway/manifest.json"), Body=b"{")
    turn = bucket.mirror.turn()
    assert turn.fetched == [("digits", 1)]
    assert "not a servable's manifest" in refused(turn)


def test_without_trusted_keys_signatures_are_mirrored_and_not_looked_at(bucket):
    bucket.sign(bucket.keys.unknown)
    mirror = Mirror(bucket.remote, bucket.local, Places(bucket.base, str(bucket.folder / "local")))
    assert len(mirror.turn().fetched) == 2
    bucket.publish(2, bucket.keys.revoked)
    mirror.turn()
    assert bucket.local.signature("digits", 2) == signed("digits", 2, bucket.digests[2], bucket.keys.revoked)


def test_the_command_refuses_keys_in_the_directory_that_it_mirrors_to(bucket):
    inside = bucket.folder / "local" / "keys"
    bucket.keys.trusted.rename(inside)
    words = ["--from", bucket.base, "--to", str(bucket.folder / "local"), "--trusted-keys", str(inside), "--once"]
    done = CliRunner().invoke(main, words)
    assert done.exit_code == 2
    assert "which they are to protect" in done.stderr


def test_the_command_leaves_with_1_when_a_version_is_refused(bucket):
    bucket.sign(bucket.keys.unknown)
    trusted = str(bucket.keys.trusted)
    words = ["--from", bucket.base, "--to", str(bucket.folder / "local"), "--trusted-keys", trusted, "--once"]
    assert CliRunner().invoke(main, words).exit_code == 1
    bucket.sign(bucket.keys.good)
    assert CliRunner().invoke(main, words).exit_code == 0
