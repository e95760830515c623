"""What every store promises. A store joins by its row in `STORES` and a line in `BASES`."""

import threading

import pytest

from serving.stores import STORES, open_store
from slipway.errors import ConflictError, InputError, IntegrityError, NotFoundError
from tests.serving.stores.bundles import bundle_of, make_bundle

BASES = {  # scheme -> an empty base path of this test's own
    "file": lambda tmp_path: tmp_path.as_uri(),
}


@pytest.fixture(params=sorted(STORES))
def store(request, tmp_path):
    base = tmp_path / "base"
    base.mkdir()
    return open_store(BASES[request.param](base))


@pytest.fixture
def source(tmp_path):
    return tmp_path / "source"


def test_a_published_version_is_listed_and_verifies(store, source):
    digest = make_bundle(source)
    publication = store.publish("digits", 3, bundle_of(source, digest))
    assert publication.created
    assert publication.path.endswith("digits/3")
    assert publication.manifest == store.verify("digits", 3, digest)
    assert publication.manifest.run_id == "run-0"
    assert store.versions("digits") == (3,)


def test_versions_rise_by_number_and_each_name_has_its_own(store, source):
    digest = make_bundle(source)
    for version in (10, 9, 2):
        store.publish("digits", version, bundle_of(source, digest))
    store.publish("letters", 7, bundle_of(source, digest))
    assert store.versions("digits") == (2, 9, 10)
    assert store.versions("letters") == (7,)
    assert store.versions("unknown") == ()


def test_publishing_what_is_there_fetches_nothing_and_says_so(store, source):
    digest = make_bundle(source)
    first = store.publish("digits", 1, bundle_of(source, digest))
    again = bundle_of(source, digest)
    second = store.publish("digits", 1, again)
    assert not second.created
    assert (second.path, second.manifest) == (first.path, first.manifest)
    assert again.fetch.count == 0


def test_publishing_another_servable_under_a_version_that_is_there_is_refused_and_changes_nothing(
    store, source, tmp_path
):
    digest = make_bundle(source)
    store.publish("digits", 1, bundle_of(source, digest))
    other = tmp_path / "other"
    with pytest.raises(ConflictError, match="next version number"):
        store.publish("digits", 1, bundle_of(other, make_bundle(other, seed=1)))
    assert store.verify("digits", 1, digest).run_id == "run-0"


@pytest.mark.parametrize("damage", ["flip", "remove", "add", "link"])
def test_a_fetched_servable_that_is_not_as_it_was_sealed_is_refused_by_file_and_leaves_nothing(store, source, damage):
    digest = make_bundle(source)
    weights = source / "saved_model/variables/variables.data-00000-of-00001"
    if damage == "flip":
        data = bytearray(weights.read_bytes())
        data[1000] ^= 1
        weights.write_bytes(data)
    elif damage == "add":
        weights.with_name("extra").write_bytes(b"")
    else:
        weights.rename(source.parent / "weights")
        if damage == "link":
            weights.symlink_to(source.parent / "weights")
    with pytest.raises(IntegrityError, match="extra" if damage == "add" else weights.name):
        store.publish("digits", 1, bundle_of(source, digest))
    assert store.versions("digits") == ()


def test_a_servable_with_another_manifest_than_was_registered_is_refused(store, source):
    make_bundle(source)
    with pytest.raises(IntegrityError, match=r"manifest\.json"):
        store.publish("digits", 1, bundle_of(source, "0" * 64))
    assert store.versions("digits") == ()


def test_a_fetch_that_fails_leaves_no_version_and_the_next_publish_succeeds(store, source):
    digest = make_bundle(source)
    bundle = bundle_of(source, digest)

    def broken(directory):
        bundle.fetch(directory)
        raise ConflictError("the registry went away")

    with pytest.raises(ConflictError, match="went away"):
        store.publish("digits", 1, type(bundle)(digest, broken))
    assert store.versions("digits") == ()
    assert store.publish("digits", 1, bundle).created


def test_of_two_publishers_at_once_both_succeed_and_one_creates(store, source):
    """Both have fetched before either goes on, so they meet at the end."""
    digest = make_bundle(source)
    both_fetched = threading.Barrier(2, timeout=30)
    publications = []

    def publish():
        bundle = bundle_of(source, digest)

        def fetch(directory):
            root = bundle.fetch(directory)
            both_fetched.wait()
            return root

        publications.append(store.publish("digits", 1, type(bundle)(digest, fetch)))

    threads = [threading.Thread(target=publish) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert sorted(publication.created for publication in publications) == [False, True]
    assert store.versions("digits") == (1,)
    store.verify("digits", 1, digest)


def test_verifying_a_version_that_is_not_published_says_how_to_publish_it(store):
    with pytest.raises(NotFoundError, match=r"digits version 4 is not published.*export --version 4"):
        store.verify("digits", 4, "0" * 64)


def test_verifying_against_another_digest_than_was_published_is_refused(store, source):
    store.publish("digits", 1, bundle_of(source, make_bundle(source)))
    with pytest.raises(IntegrityError, match=r"manifest\.json"):
        store.verify("digits", 1, "0" * 64)


@pytest.mark.parametrize("name", ["../x", "", "a/b", ".hidden", "models.config"])
def test_a_name_that_is_no_model_name_is_refused(store, source, name):
    bundle = bundle_of(source, "0" * 64)
    for call in (
        lambda: store.publish(name, 1, bundle),
        lambda: store.verify(name, 1, "0" * 64),
        lambda: store.versions(name),
    ):
        with pytest.raises(InputError, match="model name"):
            call()


@pytest.mark.parametrize("version", [0, -1])
def test_a_version_that_is_no_model_version_is_refused(store, source, version):
    with pytest.raises(InputError, match="version"):
        store.publish("digits", version, bundle_of(source, "0" * 64))


def test_a_file_is_created_replaced_read_and_removed(store):
    assert store.update_file("models.config", lambda content: content) is None
    assert store.update_file("models.config", lambda _: b"one") == b"one"
    assert store.update_file("models.config", lambda content: content + b" two") == b"one two"
    assert store.update_file("models.config", lambda content: content) == b"one two"
    assert store.update_file("models.config", lambda _: None) is None
    assert store.update_file("models.config", lambda content: content) is None


def test_updates_at_once_all_count(store):
    def add() -> None:
        for _ in range(10):
            store.update_file("counter", lambda content: str(int(content or b"0") + 1).encode())

    threads = [threading.Thread(target=add) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert store.update_file("counter", lambda content: content) == b"40"


def test_an_update_that_fails_changes_nothing(store):
    store.update_file("models.config", lambda _: b"whole")

    def fail(content):
        raise InputError(f"cannot read {content}")

    with pytest.raises(InputError):
        store.update_file("models.config", fail)
    assert store.update_file("models.config", lambda content: content) == b"whole"


@pytest.mark.parametrize("path", ["../models.config", "/etc/models.config", ""])
def test_a_file_outside_the_base_path_is_refused(store, path):
    with pytest.raises(IntegrityError, match="relative path"):
        store.update_file(path, lambda _: b"")


def test_an_unknown_scheme_is_refused_with_the_known_ones():
    with pytest.raises(InputError, match=r"'ftp'.*file://"):
        open_store("ftp://host/models")
