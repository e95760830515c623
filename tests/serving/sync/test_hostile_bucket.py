"""Whoever may write to the bucket can put anything there: it harms neither this machine nor the other models."""

import json
from contextlib import suppress

import pytest
from botocore.exceptions import ClientError

from serving.model_config import LABELS_CONFIG, MODELS_CONFIG, Wanted
from serving.servable.layout import published_path
from serving.stores import open_store
from serving.traffic import TRAFFIC_FILE
from slipway.errors import IntegrityError, UnavailableError
from slipway.files import sha256_bytes
from tests.serving.stores.bundles import make_bundle
from tests.serving.sync.test_mirror import Pair

MANIFEST = "manifest.json"


class HostilePair(Pair):
    def put(self, key, data=b""):
        self.server.client.put_object(Bucket=self.bucket, Key=key, Body=data)

    def put_version(self, name, version, files=None, manifest=None):
        """A version as somebody else than Slipway writes one; files: more paths that its manifest names."""
        source = self.sources / f"hostile-{name}-{version}"
        make_bundle(source)
        document = json.loads((source / MANIFEST).read_bytes())
        document["files"] |= {path: {"sha256": "0" * 64, "size_bytes": 0} for path in files or ()}
        for path in document["files"]:
            content = source / path
            self.put(self.key(name, version, path), content.read_bytes() if content.is_file() else b"")
        self.put(self.key(name, version, MANIFEST), json.dumps(document).encode() if manifest is None else manifest)

    @property
    def files(self):
        """Every file on this machine's side, and beside it."""
        return {
            path.relative_to(self.folder).as_posix()
            for path in self.folder.rglob("*")
            if path.is_file() and not path.is_relative_to(self.sources)
        }


@pytest.fixture
def pair(tmp_path, s3_server):
    return HostilePair(s3_server.bucket_for(tmp_path), tmp_path / "machine", s3_server)


@pytest.mark.parametrize("inside", ["../../etc/digits", "digits/../../etc", "..", "a/b", "", ".hidden", "x y"])
@pytest.mark.parametrize("file", [MODELS_CONFIG, LABELS_CONFIG])
def test_a_config_file_that_has_servers_read_another_directory_is_not_mirrored(pair, file, inside):
    pair.publish("digits", 1)
    pair.configure("digits", Wanted(1))
    pair.mirror.turn()
    before = {each: (pair.local_base / each).read_bytes() for each in (MODELS_CONFIG, LABELS_CONFIG)}
    text = f'model_config_list {{ config {{ name: "digits" base_path: "{pair.base}/{inside}" model_platform: "x" }} }}'
    pair.put(f"models/{file}", text.encode())
    pair.publish("letters", 2)
    turn = pair.mirror.turn()
    assert turn.fetched == [("letters", 2)]
    (said,) = turn.left
    assert said.startswith(f"{file} stays as it was: {file}: model 'digits' has base_path")
    assert {each: (pair.local_base / each).read_bytes() for each in before} == before


@pytest.mark.parametrize("manifest", [b"", b"{", b"null", b"\xff", b'{"format": 1}', b"[" * 100_000])
def test_a_version_whose_manifest_is_none_is_refused_and_keeps_no_other_waiting(pair, manifest):
    pair.put_version("zebras", 9, manifest=manifest)
    pair.publish("digits", 1)
    turn = pair.mirror.turn()
    assert turn.fetched == [("digits", 1)]
    assert "not a servable's manifest" in turn.refused["zebras", 9]
    assert pair.local.versions("zebras") == ()


@pytest.mark.parametrize(
    "path",
    [
        "../escaped",
        "/etc/escaped",
        "saved_model/../../escaped",
        "./x",
        "a//b",
        "a\0b",
        "saved_model/assets.extra/slipway/manifest.json",
        "golden",  # a directory of the servable's
        "labels.json/below-a-file",
        "saved_model/" + "x" * 300,
    ],
)
def test_a_manifest_with_paths_that_cannot_be_is_refused_and_leaves_nothing(pair, path):
    source = pair.sources / "any"
    make_bundle(source)
    document = json.loads((source / MANIFEST).read_bytes())
    document["files"][path] = {"sha256": "0" * 64, "size_bytes": 0}
    pair.put_version("zebras", 9, manifest=json.dumps(document).encode())
    with suppress(IntegrityError, ClientError):  # where it can be a key at all
        pair.put(pair.key("zebras", 9, path))
    pair.publish("digits", 1)
    turn = pair.mirror.turn()
    assert turn.fetched == [("digits", 1)]
    assert set(turn.refused) == {("zebras", 9)}
    assert pair.local.versions("zebras") == ()
    assert not [each for each in pair.files if "escaped" in each or "zebras" in each]


@pytest.mark.parametrize("number", ["007", "0", "00", "1e3", "9" * 19, "9" * 200, "-1", "\u0661"])
def test_a_directory_whose_name_is_no_version_s_number_is_none(pair, number):
    pair.publish("digits", 7)
    for path in ("saved_model.pb", f"assets.extra/slipway/{MANIFEST}"):
        pair.put(f"models/digits/{number}/{path}")
    assert pair.remote.versions("digits") == (7,)
    assert pair.mirror.turn().fetched == [("digits", 7)]


def test_a_model_whose_name_is_none_is_passed_over(pair):
    pair.publish("digits", 1)
    for name in ("..", ".staging-1", "a b", "%2e%2e", "x" * 200):
        for path in ("saved_model.pb", f"assets.extra/slipway/{MANIFEST}"):
            pair.server.client.put_object(Bucket=pair.bucket, Key=f"models/{name}/1/{path}", Body=b"")
    assert pair.remote.names() == ("digits",)
    assert pair.mirror.turn().fetched == [("digits", 1)]


def test_a_config_file_of_any_size_is_not_read_into_memory(pair):
    pair.publish("digits", 1)
    pair.put(f"models/{MODELS_CONFIG}", b"#" * (16 * 2**20 + 1))
    turn = pair.mirror.turn()
    assert turn.fetched == [("digits", 1)]
    (said,) = turn.left
    assert "16777217 bytes" in said


def large(pair, key):
    pair.put(key, b"#" * (16 * 2**20 + 1))


def manifest_with(pair, **changes):
    """A manifest as Slipway makes one, with more, or other, entries in its dictionaries."""
    source = pair.sources / "any"
    make_bundle(source)
    document = json.loads((source / MANIFEST).read_bytes())
    for key, entries in changes.items():
        document[key] |= entries
    return json.dumps(document).encode()


def labels_as(pair, path):
    """A version that has its labels, which are at hand, as another file, too."""
    labels = (pair.local_base / "zebras/1" / published_path("labels.json")).read_bytes()
    entry = {"sha256": sha256_bytes(labels), "size_bytes": len(labels)}
    pair.put_version("zebras", 9, manifest=manifest_with(pair, files={path: entry}))
    pair.put(pair.key("zebras", 9, path), labels)


BAD = {
    "a signature of any size": lambda pair: large(pair, "models/zebras/1.signature.json"),
    "a number too large": lambda pair: pair.put_version(
        "zebras", 9, manifest=manifest_with(pair, variants={"x": {"tolerance": 10**400, "parity": 0}})
    ),
    "a path that is no text": lambda pair: pair.put_version(
        "zebras", 9, manifest=manifest_with(pair, files={"x\ud800": {"sha256": "0" * 64, "size_bytes": 0}})
    ),
    "a long name": lambda pair: labels_as(pair, "y" * 300),
    "a file below a file": lambda pair: labels_as(pair, "labels.json/below"),
}


@pytest.mark.parametrize("what", BAD)
def test_a_bad_version_keeps_neither_another_version_nor_the_config_files_waiting(pair, what):
    pair.publish("zebras", 1)
    pair.mirror.turn()
    BAD[what](pair)
    pair.publish("digits", 1)
    pair.configure("digits", Wanted(1))
    turn = pair.mirror.turn()
    assert turn.fetched == [("digits", 1)]
    assert {name for name, _ in turn.refused} == {"zebras"}
    assert turn.left == []
    assert pair.listed("labels.config", "digits").versions == {1}


def test_an_object_of_another_size_than_was_sealed_is_not_fetched(pair, monkeypatch):
    pair.publish("zebras", 9)
    pair.put(pair.key("zebras", 9, "labels.json"), b"x" * 2**20)
    pair.publish("digits", 1)
    fetched = []
    bucket = pair.remote._bucket
    download = bucket.download
    monkeypatch.setattr(bucket, "download", lambda objects, *rest: (fetched.extend(objects), download(objects, *rest)))
    turn = pair.mirror.turn()
    assert turn.fetched == [("digits", 1)]
    assert "labels.json' has 1048576 bytes; expected" in turn.refused["zebras", 9]
    assert not [key for key in fetched if "zebras" in key]


def test_a_traffic_file_of_any_size_keeps_nothing_waiting(pair):
    pair.publish("digits", 1)
    pair.publish("zebras", 1)
    pair.mirror.turn()
    pair.remote.remove("zebras", 1)
    large(pair, f"models/{TRAFFIC_FILE}")
    turn = pair.mirror.turn()
    assert turn.removed == [("zebras", 1)]
    (said,) = turn.left
    assert said.startswith(f"{TRAFFIC_FILE} stays as it was: s3://")


@pytest.mark.parametrize("error", [RuntimeError("unforeseen"), UnavailableError("too large for the disk")])
def test_whatever_one_version_raises_the_others_come(pair, monkeypatch, error):
    pair.publish("zebras", 1)
    pair.publish("digits", 1)
    publish = pair.local.publish

    def fails(name, version, bundle):
        if name == "zebras":
            raise error
        return publish(name, version, bundle)

    monkeypatch.setattr(pair.local, "publish", fails)
    turn = pair.mirror.turn()
    assert turn.fetched == [("digits", 1)]
    (said,) = turn.left
    assert said.startswith("zebras version 1: ")
    assert str(error) in said


def test_a_server_that_goes_away_during_a_turn_ends_it(pair, monkeypatch):
    for version in range(1, 6):
        pair.publish("digits", version)
    asked = []

    def away(name, version, *_):
        asked.append(version)
        monkeypatch.setattr(pair.remote, "update_file", unanswered)
        unanswered()

    def unanswered(*_):
        raise UnavailableError("no answer")

    monkeypatch.setattr(pair.remote, "bundle", away)
    with pytest.raises(UnavailableError, match="no answer"):
        pair.mirror.turn()
    assert asked == [5]


def test_a_base_path_that_is_empty_all_at_once_takes_nothing_away(pair):
    """A mistyped --from, or a bucket that somebody emptied: what is served stays, and it is said."""
    pair.publish("digits", 1)
    pair.configure("digits", Wanted(1))
    pair.mirror.turn()
    before = pair.files
    for each in pair.server.client.list_objects_v2(Bucket=pair.bucket)["Contents"]:
        pair.server.client.delete_object(Bucket=pair.bucket, Key=each["Key"])
    turn = pair.mirror.turn()
    assert turn.removed == []
    assert "holds no version and no config file" in turn.left[0]
    assert pair.files == before


def test_somebody_s_directory_among_the_local_versions_keeps_no_version_from_coming(pair):
    pair.publish("digits", 1)
    strange = pair.local_base / "digits/2/assets.extra/slipway"
    strange.mkdir(parents=True)
    (strange / MANIFEST).write_bytes(b"no manifest")
    turn = pair.mirror.turn()
    assert turn.fetched == [("digits", 1)]
    assert not turn.refused
    open_store(str(pair.local_base)).verify("digits", 1, pair.remote.bundle("digits", 1).manifest_digest)
