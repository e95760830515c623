"""What only the store in S3 promises: what a kill leaves is gone on with, and errors name place and remedy."""

import os
import subprocess
import sys
from dataclasses import replace

import pytest

from serving.stores import open_store
from slipway.errors import ConflictError, InputError, IntegrityError, NotFoundError, UnavailableError
from tests.serving.stores.bundles import bundle_of, make_bundle

LARGE = 50 * 2**20  # three parts and a bit
WEIGHTS = "variables/variables.data-00000-of-00001"


@pytest.fixture
def base(tmp_path, s3_server):
    return s3_server.bucket_for(tmp_path)


@pytest.fixture
def source(tmp_path):
    return tmp_path / "source"


class Wire:
    """Counts the requests of a store that write, and dies before one of them."""

    def __init__(self, store, die_before=0):
        self.sent = []
        self._die_before = die_before
        events = store._bucket._client.meta.events
        events.register("before-send.s3.*", self._before)

    def _before(self, request, **_):
        if request.method in {"PUT", "POST", "DELETE"}:
            self.sent.append((request.method, request.url))
            if len(self.sent) == self._die_before:
                raise KeyboardInterrupt


def unfinished(server, base):
    bucket = base.removeprefix("s3://").partition("/")[0]
    return server.client.list_multipart_uploads(Bucket=bucket).get("Uploads", [])


@pytest.mark.integration
def test_killed_before_any_request_it_is_no_version_and_the_next_publication_finishes_it(base, source, s3_server):
    digest = make_bundle(source, LARGE)
    writes = Wire(store := open_store(base))
    store.publish("whole", 1, bundle_of(source, digest))
    count = len(writes.sent)
    assert count > 10
    for point in range(1, count + 1):
        store = open_store(base)
        Wire(store, point)
        with pytest.raises(KeyboardInterrupt):
            store.publish("digits", point, bundle_of(source, digest))
        assert point not in open_store(base).versions("digits")
        open_store(base).publish("digits", point, bundle_of(source, digest))
        open_store(base).verify("digits", point, digest)
    assert unfinished(s3_server, base) == []


def test_parts_that_have_arrived_are_not_sent_again(base, source):
    digest = make_bundle(source, LARGE)
    store = open_store(base)
    whole = Wire(store)
    store.publish("whole", 1, bundle_of(source, digest))
    parts = sum("partNumber" in url for _, url in whole.sent)
    store = open_store(base)
    Wire(store, len(whole.sent) - 2)
    with pytest.raises(KeyboardInterrupt):
        store.publish("digits", 1, bundle_of(source, digest))
    store = open_store(base)
    second = Wire(store)
    store.publish("digits", 1, bundle_of(source, digest))
    assert parts == 3
    assert sum("partNumber" in url for _, url in second.sent) < parts


def test_what_another_servable_left_unfinished_goes(base, source, tmp_path):
    other = tmp_path / "other"
    store = open_store(base)
    Wire(store, 4)
    with pytest.raises(KeyboardInterrupt):
        store.publish("digits", 1, bundle_of(other, make_bundle(other, LARGE, seed=1)))
    digest = make_bundle(source)
    open_store(base).publish("digits", 1, bundle_of(source, digest))
    open_store(base).verify("digits", 1, digest)


def test_a_changed_a_missing_and_an_added_object_are_found_by_name(base, source, s3_server):
    digest = make_bundle(source)
    store = open_store(base)
    store.publish("digits", 1, bundle_of(source, digest))
    bucket, client = base.removeprefix("s3://").partition("/")[0], s3_server.client
    key = f"models/digits/1/{WEIGHTS}"
    data = client.get_object(Bucket=bucket, Key=key)["Body"].read()
    client.put_object(Bucket=bucket, Key=key, Body=data[:-1] + bytes([data[-1] ^ 1]))
    with pytest.raises(IntegrityError, match=r"variables\.data"):
        store.verify("digits", 1, digest)
    client.put_object(Bucket=bucket, Key=key, Body=data)
    client.put_object(Bucket=bucket, Key="models/digits/1/added", Body=b"")
    with pytest.raises(IntegrityError, match="'added' is not in the manifest"):
        store.verify("digits", 1, digest)
    client.delete_object(Bucket=bucket, Key="models/digits/1/added")
    client.delete_object(Bucket=bucket, Key=key)
    with pytest.raises(IntegrityError, match="is missing"):
        store.verify("digits", 1, digest)


def test_a_server_that_heeds_conditions_lets_no_update_be_lost_between_reading_and_writing(base):
    store = open_store(base)
    store.update_file("models.config", lambda _: b"one")
    calls = []

    def meanwhile(content):
        if not calls:
            calls.append(content)
            open_store(base).update_file("models.config", lambda _: b"two")
        return content + b" and mine"

    assert store.update_file("models.config", meanwhile) == b"two and mine"


def test_an_update_that_is_always_overtaken_gives_up_and_says_so(base):
    store, other, number = open_store(base), open_store(base), iter(range(1000))

    def always(_content):
        other.update_file("models.config", lambda _: str(next(number)).encode())
        return b"mine"

    with pytest.raises(ConflictError, match="changed by others 50 times"):
        store.update_file("models.config", always)


@pytest.mark.parametrize("base", ["s3://", "s3:///models", "s3://bucket/a?b", "s3://bucket/a//b"])
def test_a_base_path_that_names_no_bucket_is_refused(base):
    with pytest.raises(InputError, match="expected s3://BUCKET/PREFIX"):
        open_store(base)


def test_a_bucket_that_is_not_there_is_named(s3_server):
    with pytest.raises(NotFoundError, match="bucket 'nobody-made-it' does not exist"):
        open_store("s3://nobody-made-it/models").names()


def test_missing_credentials_and_an_unknown_profile_say_what_to_set(base, monkeypatch, tmp_path):
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "none"))
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "none"))
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    with pytest.raises(InputError, match="Set AWS_ACCESS_KEY_ID"):
        open_store(base).names()
    monkeypatch.setenv("AWS_PROFILE", "nobody")
    with pytest.raises(InputError, match="Correct AWS_PROFILE"):
        open_store(base)


def test_a_server_that_does_not_answer_and_an_address_that_is_none(base, monkeypatch):
    monkeypatch.setenv("AWS_ENDPOINT_URL_S3", "http://127.0.0.1:9")
    with pytest.raises(UnavailableError, match="expected an S3 server's answer"):
        open_store(base).names()
    monkeypatch.setenv("AWS_ENDPOINT_URL_S3", "no address")
    with pytest.raises(InputError, match="expected the server's address in AWS_ENDPOINT_URL_S3"):
        open_store(base)


def test_a_local_base_path_imports_no_boto3():
    code = "import sys; from serving.stores import open_store; open_store('/tmp'); sys.exit('boto3' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], env=os.environ, check=False).returncode == 0


def test_the_signature_is_there_before_what_makes_the_version_appear(base, source):
    digest = make_bundle(source)
    writes = Wire(store := open_store(base))
    store.publish("digits", 1, replace(bundle_of(source, digest), signature=b"signed"))
    written = [url.partition("?")[0].rpartition("/")[2] for method, url in writes.sent if method == "PUT"]
    assert written.index("1.signature.json") < written.index("saved_model.pb")
    assert written[-1] == "saved_model.pb"
