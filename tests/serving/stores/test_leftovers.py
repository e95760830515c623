"""What a killed publication or removal left is told from what is there, and can be removed without a trace."""

import math

import pytest

from serving.stores import open_store
from slipway.errors import ConflictError
from tests.serving.stores.bundles import bundle_of, make_bundle, publish_command
from tests.serving.stores.kill_points import run_until_call
from tests.serving.stores.test_s3 import LARGE, Wire


@pytest.fixture
def base(tmp_path, s3_server):
    return s3_server.bucket_for(tmp_path)


@pytest.fixture
def source(tmp_path):
    return tmp_path / "source"


def everything(server, base):
    """Keys, and those of unfinished uploads, in the base path's bucket."""
    bucket = base.removeprefix("s3://").partition("/")[0]
    keys = [each["Key"] for each in server.client.list_objects_v2(Bucket=bucket).get("Contents", [])]
    return keys + [each["Key"] for each in server.client.list_multipart_uploads(Bucket=bucket).get("Uploads", [])]


def killed_before(base, point, work):
    """`work` on a store that dies before its request number `point` that writes; how many it had sent."""
    wire = Wire(store := open_store(base), point)
    with pytest.raises(KeyboardInterrupt):
        work(store)
    return len(wire.sent)


def writes_of(base, work):
    wire = Wire(store := open_store(base))
    work(store)
    return len(wire.sent)


@pytest.mark.integration
def test_a_publication_killed_before_any_request_leaves_what_can_be_removed_whole(base, source, s3_server):
    digest = make_bundle(source, LARGE)
    count = writes_of(base, lambda store: store.publish("whole", 1, bundle_of(source, digest)))
    for point in range(2, count + 1):
        killed_before(base, point, lambda store: store.publish("digits", 1, bundle_of(source, digest)))
        store = open_store(base)
        for leftover in store.leftovers("digits"):
            assert (leftover.version, leftover.path) == (1, f"{base}/digits/1")
            assert leftover.idle_s < 60
            leftover.remove()
        assert [key for key in everything(s3_server, base) if "/digits/" in key] == []
    assert store.leftovers("whole") == ()


def test_the_size_of_a_leftover_counts_parts_that_have_arrived(base, source):
    digest = make_bundle(source, LARGE)
    count = writes_of(base, lambda store: store.publish("whole", 1, bundle_of(source, digest)))
    killed_before(base, count - 1, lambda store: store.publish("digits", 1, bundle_of(source, digest)))
    (leftover,) = open_store(base).leftovers("digits")
    assert 0.5 * LARGE < leftover.size_bytes < LARGE


def test_a_removal_killed_before_any_request_is_no_version_and_says_that_nobody_is_at_it(base, source, s3_server):
    digest = make_bundle(source)
    publish = lambda store: store.publish("digits", 1, bundle_of(source, digest))  # noqa: E731
    publish(open_store(base))
    count = writes_of(base, lambda store: store.remove("digits", 1))
    assert everything(s3_server, base) == []
    for point in range(1, count + 1):
        publish(store := open_store(base))
        killed_before(base, point, lambda store: store.remove("digits", 1))
        if store.versions("digits"):  # nothing of it has gone yet
            store.verify("digits", 1, digest)
            assert store.leftovers("digits") == ()
            store.remove("digits", 1)
        else:
            (leftover,) = store.leftovers("digits")
            assert leftover.idle_s == math.inf
            leftover.remove()
        assert everything(s3_server, base) == []


def test_a_version_whose_removal_was_killed_is_published_again_as_if_it_had_ended(base, source):
    digest = make_bundle(source)
    for point in (2, 5):
        open_store(base).publish("digits", 1, bundle_of(source, digest))
        killed_before(base, point, lambda store: store.remove("digits", 1))
        store = open_store(base)
        store.publish("digits", 1, bundle_of(source, digest))
        store.verify("digits", 1, digest)
        assert store.leftovers("digits") == ()


def test_unfinished_uploads_beside_a_version_that_is_there_go_and_the_version_stays(base, source, s3_server):
    digest = make_bundle(source)
    store = open_store(base)
    store.publish("digits", 1, bundle_of(source, digest))
    bucket = base.removeprefix("s3://").partition("/")[0]
    s3_server.client.create_multipart_upload(Bucket=bucket, Key="models/digits/1/variables/x")
    (leftover,) = store.leftovers("digits")
    leftover.remove()
    assert store.leftovers("digits") == ()
    store.verify("digits", 1, digest)


def test_files_that_slipway_has_not_put_there_are_no_leftover(base, s3_server):
    bucket = base.removeprefix("s3://").partition("/")[0]
    for key in ("7/saved_model.pb", "8/variables/variables.index", "notes.txt", "x.removing", "08/x"):
        s3_server.client.put_object(Bucket=bucket, Key=f"models/digits/{key}", Body=b"")
    assert open_store(base).leftovers("digits") == ()


def test_what_somebody_went_on_with_since_it_was_looked_at_is_not_removed(base, source, s3_server):
    digest = make_bundle(source)
    store = open_store(base)
    for version, how_far in ((1, 4), (2, 4)):
        killed_before(base, how_far, lambda store, it=version: store.publish("digits", it, bundle_of(source, digest)))
    first, second = store.leftovers("digits")
    store.publish("digits", 1, bundle_of(source, digest))
    killed_before(base, 4, lambda store: store.publish("digits", 2, bundle_of(source, digest)))
    before = everything(s3_server, base)
    for left in (first, second):
        with pytest.raises(ConflictError, match=r"digits/\d: somebody has written there since it was looked at"):
            left.remove()
    assert everything(s3_server, base) == before
    store.verify("digits", 1, digest)


@pytest.mark.parametrize("what", ["the version", "its manifest alone"])
def test_a_publisher_from_under_whom_files_are_removed_says_so_and_leaves_no_version(
    base, source, s3_server, monkeypatch, what
):
    digest = make_bundle(source)
    store, other = open_store(base), open_store(base)
    put = store._bucket.put

    def removed_meanwhile(key, content, condition=None):
        if key.endswith("saved_model.pb"):
            if what == "the version":
                other.remove("digits", 1)
            else:
                other._bucket.delete(["models/digits/1/assets.extra/slipway/manifest.json"])
        return put(key, content, condition)

    monkeypatch.setattr(store._bucket, "put", removed_meanwhile)
    with pytest.raises(ConflictError, match="removed while it was published"):
        store.publish("digits", 1, bundle_of(source, digest))
    assert store.versions("digits") == ()
    assert "models/digits/1/saved_model.pb" not in everything(s3_server, base)


def test_a_dead_publisher_s_staging_directory_is_a_leftover_and_a_live_one_s_is_not(tmp_path, source):
    base = tmp_path / "base"
    base.mkdir()
    digest = make_bundle(source)
    assert run_until_call(publish_command(source, base, "digits", 1, digest), base, 25)
    store = open_store(str(base))
    (leftover,) = store.leftovers("digits")
    assert (leftover.version, leftover.idle_s) == (None, math.inf)
    assert leftover.size_bytes > 10_000
    bundle = bundle_of(source, digest)

    def fetch(into):
        assert len(open_store(str(base)).leftovers("digits")) == 0  # the dead one's went, and this one lives
        return bundle.fetch(into)

    store.publish("digits", 1, type(bundle)(digest, fetch))
    assert run_until_call(publish_command(source, base, "digits", 2, digest), base, 25)
    for left in store.leftovers("digits"):
        left.remove()
    assert {path.name for path in (base / "digits").iterdir()} == {"1"}
