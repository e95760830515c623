"""A store in S3 between publishers that meet, servers that fail half-way, and addresses with secrets in them."""

import errno
import threading
import time
from contextlib import suppress

import pytest

from serving.servable.manifest import VariantRecord, seal
from serving.stores import open_store
from serving.stores.s3_bucket import Bucket, Upload
from slipway.errors import InputError, IntegrityError, UnavailableError
from slipway.files import sha256_file
from tests.serving.stores.bundles import bundle_of, make_bundle
from tests.serving.stores.test_s3 import LARGE, Wire, unfinished

HIDDEN = "hidden0secret"


@pytest.fixture
def base(tmp_path, s3_server):
    return s3_server.bucket_for(tmp_path)


@pytest.fixture
def source(tmp_path):
    return tmp_path / "source"


@pytest.fixture
def bucket(base):
    return Bucket(base.removeprefix("s3://").partition("/")[0])


def before(store, method, word, action):
    """Have `action` happen once, before the store's first request of that method whose address has that word."""
    waiting = [action]

    def look(request, **_):
        if waiting and request.method == method and word in request.url:
            waiting.pop()()

    store._bucket._client.meta.events.register("before-send.s3.*", look)


@pytest.mark.integration
def test_a_publisher_whose_parts_another_one_completes_meanwhile_succeeds_too(base, source, s3_server):
    digest = make_bundle(source, LARGE)
    slow, quick = open_store(base), open_store(base)
    before(slow, "PUT", "partNumber=", lambda: quick.publish("digits", 1, bundle_of(source, digest)))
    assert not slow.publish("digits", 1, bundle_of(source, digest)).created
    slow.verify("digits", 1, digest)
    assert unfinished(s3_server, base) == []


@pytest.mark.integration
@pytest.mark.parametrize("method", ["GET", "POST"])
def test_of_two_that_go_on_with_what_a_killed_one_left_both_succeed(base, source, s3_server, method):
    """The other one comes to its end before this one asks which parts have arrived, or completes the upload."""
    digest = make_bundle(source, LARGE)
    whole = Wire(store := open_store(base))
    store.publish("whole", 1, bundle_of(source, digest))
    completion = next(
        place for place, (_, url) in enumerate(whole.sent) if "uploadId=" in url and "partNumber" not in url
    )
    killed = open_store(base)
    Wire(killed, completion + 1)
    with pytest.raises(KeyboardInterrupt):
        killed.publish("digits", 1, bundle_of(source, digest))
    slow, quick = open_store(base), open_store(base)
    before(slow, method, "uploadId=", lambda: quick.publish("digits", 1, bundle_of(source, digest)))
    assert not slow.publish("digits", 1, bundle_of(source, digest)).created
    slow.verify("digits", 1, digest)
    assert unfinished(s3_server, base) == []


def test_uploads_that_were_begun_for_other_bytes_are_given_up_and_what_is_there_is_ours(bucket, tmp_path, s3_server):
    file = tmp_path / "weights"
    file.write_bytes(bytes(range(256)) * (LARGE // 256))
    for number in range(2):
        s3_server.client.create_multipart_upload(
            Bucket=bucket.name, Key="w", Metadata={"slipway-sha256": f"{number}" * 64}
        )
    bucket.upload([Upload("w", file, sha256_file(file))])
    assert bucket.sha256("w") == sha256_file(file)
    bucket.download({"w": tmp_path / "back"})
    assert (tmp_path / "back").read_bytes() == file.read_bytes()
    assert unfinished(s3_server, f"s3://{bucket.name}/x") == []


def test_uploads_of_another_object_whose_name_begins_alike_are_not_given_up(bucket, tmp_path, s3_server):
    file = tmp_path / "weights"
    file.write_bytes(bytes(range(256)) * (LARGE // 256))
    for key in ("w", "w.2"):
        s3_server.client.create_multipart_upload(Bucket=bucket.name, Key=key, Metadata={"slipway-sha256": "0" * 64})
    bucket.upload([Upload("w", file, sha256_file(file))])
    assert bucket.sha256("w") == sha256_file(file)
    assert [each["Key"] for each in unfinished(s3_server, f"s3://{bucket.name}/x")] == ["w.2"]


@pytest.mark.parametrize("keys", [("a", "a/b"), ("a/b", "a"), ("x" * 300,)])
def test_keys_that_cannot_be_files_beside_each_other_are_no_fault_of_this_machine_s(bucket, tmp_path, keys):
    for key in keys:
        bucket.put(key, b"1")
    *fine, impossible = keys
    for key in fine:
        bucket.download({key: tmp_path / "to" / key})
    with pytest.raises(IntegrityError, match="cannot be a file here"):
        bucket.download({impossible: tmp_path / "to" / impossible})


def test_a_disk_that_takes_no_more_is_unavailable_and_named(bucket, tmp_path, monkeypatch):
    bucket.put("weights", b"1" * 1000)
    monkeypatch.setattr("s3transfer.utils.OSUtils.rename_file", _full)
    with pytest.raises(UnavailableError, match=r"to: No space left on device; expected to write s3://.*/weights there"):
        bucket.download({"weights": tmp_path / "to"})


def _full(*_):
    raise OSError(errno.ENOSPC, "No space left on device")


def test_after_a_failure_no_further_file_is_begun(bucket, tmp_path):
    asked, lock = [], threading.Lock()

    def refuse(request, **_):
        with lock:
            asked.append(request.url)
        time.sleep(0.05)  # a request takes a while; without it, other threads do many before the failure is looked at
        raise IntegrityError("enough")

    bucket._client.meta.events.register("before-send.s3.*", refuse)
    with pytest.raises(IntegrityError, match="enough"):
        bucket.download({str(number): tmp_path / str(number) for number in range(200)})
    assert 1 <= len(asked) < 100


@pytest.mark.parametrize(
    "base",
    [
        f"s3://AKIA:{HIDDEN}@bucket/models",
        f"s3://{HIDDEN}@bucket",
        f"s3://AKIA:{HIDDEN}/x@bucket/models",
        f"s3://AKIA:{HIDDEN}@bucket/models?x",
        f"ftp://AKIA:{HIDDEN}@host/models",
    ],
)
def test_a_base_path_with_a_secret_in_it_is_refused_without_it(base, s3_server):
    with pytest.raises(InputError, match=r"expected") as refused:
        open_store(base)
    assert HIDDEN not in str(refused.value)


@pytest.mark.parametrize("endpoint", [f"http://AKIA:{HIDDEN}@127.0.0.1:9", f"AKIA:{HIDDEN}@127.0.0.1:9", "no address"])
def test_an_endpoint_with_a_secret_in_it_is_refused_without_it(base, monkeypatch, endpoint):
    monkeypatch.setenv("AWS_ENDPOINT_URL_S3", endpoint)
    with pytest.raises(InputError, match="expected the server's address in AWS_ENDPOINT_URL_S3") as refused:
        open_store(base)
    assert HIDDEN not in str(refused.value)


@pytest.mark.parametrize(
    "base", ["s3://b/../x", "s3://b/a/../x", "s3://b/./x", "s3://b//x", "s3://b/a//x", "s3://b/a\x7f"]
)
def test_a_prefix_that_another_spelling_could_name_is_refused(base, s3_server):
    with pytest.raises(InputError, match="expected s3://BUCKET/PREFIX"):
        open_store(base)


@pytest.mark.parametrize("name", ["a b", "a:b", "-a", "..", "x" * 300, "caf\u00e9"])
def test_a_bucket_s_name_is_a_name(name, s3_server):
    with pytest.raises(InputError, match="expected the bucket's name alone"):
        open_store(f"s3://{name}/models")


@pytest.mark.integration
def test_a_saved_model_without_a_manifest_is_not_taken_for_a_version_while_one_is_published_over_it(
    base, source, s3_server
):
    """Somebody copied a SavedModel to the place by hand."""
    digest = make_bundle(source)
    bucket = base.removeprefix("s3://").partition("/")[0]
    s3_server.client.put_object(Bucket=bucket, Key="models/digits/1/saved_model.pb", Body=b"another one")
    store, seen = open_store(base), []

    def look(request, **_):
        if request.method == "PUT":
            seen.append((request.url.rpartition("/")[2], open_store(base).versions("digits")))

    store._bucket._client.meta.events.register("before-send.s3.*", look)
    assert store.publish("digits", 1, bundle_of(source, digest)).created
    assert len(seen) > 5
    assert {versions for _, versions in seen} == {()}
    assert seen[-1][0] == "saved_model.pb"
    store.verify("digits", 1, digest)


def test_no_publisher_takes_away_what_another_one_finished_between_two_of_its_requests(base, source):
    digest = make_bundle(source)
    for point in range(3, 6):
        slow, quick, sent = open_store(base), open_store(base), []

        def look(request, point=point, quick=quick, sent=sent, **_):
            sent.append(request.method)
            if len(sent) == point:
                assert quick.publish("digits", point, bundle_of(source, digest)).created
            if len(sent) >= point and request.method == "PUT":
                raise KeyboardInterrupt

        slow._bucket._client.meta.events.register("before-send.s3.*", look)
        with suppress(KeyboardInterrupt):
            slow.publish("digits", point, bundle_of(source, digest))
        assert quick.versions("digits")[-1] == point


def test_a_servable_without_a_saved_model_is_refused_in_words(base, source):
    make_bundle(source)
    (source / "saved_model/saved_model.pb").unlink()
    (source / "manifest.json").unlink()
    digest = seal(
        source,
        run_id="r",
        git_commit="c",
        dataset_digest="d",
        image_size=(32, 32),
        classes=10,
        variants={"tensorflow-fp32": VariantRecord(tolerance=1e-5, parity=2e-7)},
        signatures={},
    )
    with pytest.raises(IntegrityError, match=r"digits/1: its servable has no saved_model\.pb"):
        open_store(base).publish("digits", 1, bundle_of(source, digest))
    assert open_store(base).versions("digits") == ()
