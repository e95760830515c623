"""A directory becomes as the base path in S3 is: whole versions only, config files once their versions are there."""

import shutil

import pytest

from serving.model_config import Wanted, labels_config, listed, models_config
from serving.page_file import PAGE_FILE
from serving.servable.layout import published_path
from serving.stores import open_store
from serving.sync.mirror import Mirror, Only, Places
from slipway.errors import UnavailableError
from tests.serving.stores.bundles import bundle_of, make_bundle

WEIGHTS = "saved_model/variables/variables.data-00000-of-00001"


class Pair:
    """A base path in S3, a directory, and the mirror between them."""

    now = 0.0

    def __init__(self, base, folder, server):
        self.base, self.folder, self.server = base, folder, server
        self.sources = folder / "sources"
        self.local_base = folder / "local"
        self.local_base.mkdir(parents=True)
        self.remote, self.local = open_store(base), open_store(str(self.local_base))
        self.mirror = self.made()

    def made(self, *names, version=None):
        places = Places(self.base, str(self.local_base))
        return Mirror(self.remote, self.local, places, Only(names, version), lambda: self.now)

    def publish(self, name, version, seed=0):
        source = self.sources / f"{name}-{version}"
        digest = make_bundle(source, seed=seed)
        self.remote.publish(name, version, bundle_of(source, digest))
        return digest

    def configure(self, name, wanted):
        for file, make in (("labels.config", labels_config), ("models.config", models_config)):
            self.remote.update_file(file, lambda present, make=make: make(present, name, f"{self.base}/{name}", wanted))

    def listed(self, file, name):
        return listed(self.local.update_file(file, lambda content: content), file, name)

    @property
    def bucket(self):
        return self.base.removeprefix("s3://").partition("/")[0]

    def key(self, name, version, path):
        return f"models/{name}/{version}/{published_path(path)}"


@pytest.fixture
def pair(tmp_path, s3_server):
    return Pair(s3_server.bucket_for(tmp_path), tmp_path, s3_server)


def test_whole_versions_appear_and_verify_and_a_second_turn_does_nothing(pair):
    digests = {(name, version): pair.publish(name, version) for name, version in (("digits", 1), ("letters", 2))}
    turn = pair.mirror.turn()
    assert set(turn.fetched) == set(digests)
    for (name, version), digest in digests.items():
        pair.local.verify(name, version, digest)
    again = pair.mirror.turn()
    assert (again.fetched, again.removed, again.refused, again.left) == ([], [], {}, [])


def test_only_the_models_that_are_named_are_mirrored(pair):
    pair.publish("digits", 1)
    pair.publish("letters", 1)
    assert pair.made("letters").turn().fetched == [("letters", 1)]
    assert pair.local.names() == ("letters",)


def test_a_model_that_is_not_there_takes_nothing_away_and_is_said(pair):
    """A mistyped --model."""
    pair.publish("digits", 1)
    pair.configure("digits", Wanted(1))
    pair.mirror.turn()
    turn = pair.made("digit").turn()
    assert (turn.fetched, turn.removed) == ([], [])
    assert turn.left[0].startswith(f"--model digit: {pair.base} holds no version of it")
    assert pair.local.versions("digits") == (1,)
    assert pair.listed("labels.config", "digits").labels["stable"] == 1


def test_two_mirrors_of_other_models_in_one_directory_leave_each_other_alone(pair):
    for name in ("digits", "letters"):
        pair.publish(name, 1)
        pair.configure(name, Wanted(1))
    for _ in range(2):
        for name in ("digits", "letters"):
            assert pair.made(name).turn().removed == []
    for name in ("digits", "letters"):
        assert pair.local.versions(name) == (1,)
        for file in ("labels.config", "models.config"):
            assert pair.listed(file, name).versions == {1}
    pair.configure("letters", Wanted())
    pair.remote.remove("letters", 1)
    pair.publish("letters", 2)
    assert pair.made("letters").turn().removed == [("letters", 1)]
    assert pair.listed("labels.config", "letters").versions == set()
    assert pair.listed("labels.config", "digits").versions == {1}


def test_a_directory_that_no_mirror_brought_is_left_alone(pair):
    pair.publish("digits", 1)
    somebodys = pair.local_base / "mine/3/saved_model.pb"
    somebodys.parent.mkdir(parents=True)
    somebodys.touch()
    assert pair.mirror.turn().removed == []
    assert somebodys.exists()


def test_another_servable_under_the_number_of_one_that_is_here_is_said_and_its_config_waits(pair, tmp_path, s3_server):
    pair.publish("digits", 1)
    pair.configure("digits", Wanted(1))
    pair.mirror.turn()
    other = Pair(s3_server.bucket_for(tmp_path / "other"), tmp_path / "other", s3_server)
    digest = other.publish("digits", 1, seed=1)
    other.publish("digits", 2, seed=2)
    other.configure("digits", Wanted(1, previous=2))
    mirror = Mirror(other.remote, pair.local, Places(other.base, str(pair.local_base)))
    for fetched in ([("digits", 2)], []):
        turn = mirror.turn()
        assert turn.fetched == fetched
        assert f"digits/1 is another servable than {other.base}/digits/1" in turn.refused["digits", 1]
        assert "labels.config stays as it was until digits version 1 is there" in turn.left
        assert pair.listed("labels.config", "digits").versions == {1}
    shutil.rmtree(pair.local_base / "digits/1")
    assert mirror.turn().fetched == [("digits", 1)]
    pair.local.verify("digits", 1, digest)
    assert pair.listed("labels.config", "digits").versions == {1, 2}


@pytest.mark.parametrize("said", [True, False])
def test_a_version_that_was_published_anew_with_other_bytes_is_said(pair, said):
    pair.publish("digits", 1)
    pair.mirror.turn()
    pair.remote.remove("digits", 1)
    shutil.rmtree(pair.sources / "digits-1")
    pair.publish("digits", 1, seed=5)
    if not said:  # by another program than Slipway, which says no digest
        where = {"Bucket": pair.bucket, "Key": pair.key("digits", 1, "manifest.json")}
        pair.server.client.put_object(**where, Body=pair.server.client.get_object(**where)["Body"].read())
    assert "is another servable" in pair.mirror.turn().refused["digits", 1]


def test_a_turn_without_news_reads_no_manifest(pair):
    for version in range(1, 4):
        pair.publish("digits", version, seed=version)
    pair.mirror.turn()
    asked = []
    pair.remote._bucket._client.meta.events.register(
        "before-send.s3.GetObject", lambda request, **_: asked.append(request.url)
    )
    pair.mirror.turn()
    assert asked
    assert not [url for url in asked if "manifest.json" in url]


def test_a_long_turn_is_told_to_go_on_as_bytes_come(pair):
    pair.publish("digits", 1)
    pair.publish("letters", 1, seed=1)
    moves = []
    assert len(pair.mirror.turn(lambda: moves.append(1)).fetched) == 2
    assert len(moves) > 2 + 6


def test_a_version_that_is_not_finished_is_not_fetched(pair):
    pair.publish("digits", 1)
    pair.server.client.delete_object(Bucket=pair.bucket, Key=pair.key("digits", 1, "saved_model/saved_model.pb"))
    assert pair.mirror.turn().fetched == []


def test_config_files_follow_their_versions_with_paths_of_this_machine(pair):
    pair.publish("digits", 1)
    pair.configure("digits", Wanted(1))
    pair.mirror.turn()
    found = pair.listed("labels.config", "digits")
    assert (found.versions, dict(found.labels)) == ({1}, {"stable": 1})
    assert found.base_paths == {f"{pair.local_base}/digits"}
    assert pair.listed("models.config", "digits").versions == {1}


def test_a_config_file_that_names_what_is_not_there_waits(pair):
    pair.publish("digits", 1)
    pair.configure("digits", Wanted(1))
    pair.mirror.turn()
    pair.configure("digits", Wanted(2, previous=1))
    turn = pair.mirror.turn()
    assert "stays as it was until digits version 2 is there" in turn.left[0]
    assert pair.listed("labels.config", "digits").labels["stable"] == 1
    pair.publish("digits", 2, seed=2)
    assert pair.mirror.turn().left == []
    assert pair.listed("labels.config", "digits").labels["stable"] == 2


@pytest.mark.parametrize("damage", ["flip", "missing", "other size"])
def test_a_version_whose_bytes_are_not_what_was_sealed_is_refused_once_and_taken_when_mended(pair, damage):
    pair.publish("digits", 1)
    key, client = pair.key("digits", 1, WEIGHTS), pair.server.client
    data = client.get_object(Bucket=pair.bucket, Key=key)["Body"].read()
    if damage == "missing":
        client.delete_object(Bucket=pair.bucket, Key=key)
    else:
        bad = data[:-1] + bytes([data[-1] ^ 1]) if damage == "flip" else data[:-1]
        client.put_object(Bucket=pair.bucket, Key=key, Body=bad)
    turn = pair.mirror.turn()
    assert "variables.data" in turn.refused["digits", 1] or "not there" in turn.refused["digits", 1]
    assert pair.local.versions("digits") == ()
    assert list((pair.local_base / "digits").glob(".staging*")) == []
    assert pair.mirror.turn().refused.keys() == {("digits", 1)}
    client.put_object(Bucket=pair.bucket, Key=key, Body=data)
    assert pair.mirror.turn().fetched == []
    pair.now = 301
    assert pair.mirror.turn().fetched == [("digits", 1)]


def test_what_is_gone_there_goes_here_unless_a_config_file_names_it(pair):
    for version in (1, 2):
        pair.publish("digits", version, seed=version)
    pair.configure("digits", Wanted(1))
    pair.mirror.turn()
    for version in (1, 2):
        pair.remote.remove("digits", version)
    turn = pair.mirror.turn()
    assert turn.removed == [("digits", 2)]
    assert pair.local.versions("digits") == (1,)


def test_files_that_another_version_has_are_not_fetched_again(pair, monkeypatch):
    pair.publish("digits", 1)
    pair.mirror.turn()
    fetched = []
    bucket = pair.remote._bucket
    download = bucket.download
    monkeypatch.setattr(bucket, "download", lambda objects, *rest: (fetched.extend(objects), download(objects, *rest)))
    source = pair.sources / "digits-1"
    pair.remote.publish("digits", 2, bundle_of(source, pair.remote.bundle("digits", 1).manifest_digest))
    fetched.clear()
    assert pair.mirror.turn().fetched == [("digits", 2)]
    assert fetched == []


def test_a_server_that_is_away_leaves_everything_as_it_is(pair, monkeypatch):
    pair.publish("digits", 1)
    pair.mirror.turn()
    monkeypatch.setenv("AWS_ENDPOINT_URL_S3", "http://127.0.0.1:9")
    away = Mirror(open_store(pair.base), pair.local, Places(pair.base, str(pair.local_base)))
    with pytest.raises(UnavailableError, match="expected an S3 server's answer"):
        away.turn()
    assert pair.local.versions("digits") == (1,)
    shutil.rmtree(pair.local_base)


def test_of_one_version_alone_nothing_else_is_fetched_and_no_other_s_fault_keeps_it_waiting(pair):
    digests = {version: pair.publish("digits", version) for version in (3, 30)}
    pair.configure("digits", Wanted(30, previous=3))
    pair.server.client.put_object(Bucket=pair.bucket, Key=pair.key("digits", 30, WEIGHTS), Body=b"damaged")
    mirror = pair.made("digits", version=3)
    turn = mirror.turn()
    assert (turn.fetched, turn.refused, turn.left) == ([("digits", 3)], {}, [])
    assert pair.local.digests("digits") == {3: digests[3]}
    assert not (pair.local_base / "labels.config").exists()
    turn = mirror.turn()
    assert (turn.fetched, turn.removed, turn.left) == ([], [], [])


def test_a_version_that_is_not_there_is_waited_for(pair):
    pair.publish("digits", 1)
    mirror = pair.made("digits", version=2)
    (left,) = mirror.turn().left
    assert left.startswith(f"--version 2: {pair.base} holds no such version of digits")
    pair.publish("digits", 2, seed=2)
    assert mirror.turn().fetched == [("digits", 2)]


def test_what_the_servers_page_shows_comes_along_and_goes_again(pair):
    pair.publish("digits", 1)
    pair.remote.update_file(PAGE_FILE, lambda _present: b"{}")
    pair.mirror.turn()
    assert (pair.local_base / PAGE_FILE).read_bytes() == b"{}"
    pair.remote.update_file(PAGE_FILE, lambda _present: None)
    pair.mirror.turn()
    assert not (pair.local_base / PAGE_FILE).exists()
