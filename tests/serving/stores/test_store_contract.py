"""What every store promises. A store joins by its row in `STORES` and a line in `BASES`."""

import threading
from dataclasses import replace

import pytest

from serving.stores import STORES, open_store
from slipway.errors import ConflictError, InputError, IntegrityError, NotFoundError
from tests.serving.stores.bundles import bundle_of, make_bundle

BASES = {  # scheme -> an empty base path of this test's own
    "file": lambda tmp_path, _: tmp_path.as_uri(),
    "s3": lambda tmp_path, request: request.getfixturevalue("s3_server").bucket_for(tmp_path),
}


@pytest.fixture(params=sorted(STORES))
def store(request, tmp_path):
    base = tmp_path / "base"
    base.mkdir()
    return open_store(BASES[request.param](base, request))


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


def test_each_version_s_digest_is_told_without_reading_its_files(store, source):
    digests = {number: make_bundle(source / str(number), seed=number) for number in (2, 10)}
    for number, digest in digests.items():
        store.publish("digits", number, bundle_of(source / str(number), digest))
    assert store.digests("digits") == digests
    assert store.digests("letters") == {}


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


def test_the_names_are_those_of_models_with_published_versions(store, source):
    assert store.names() == ()
    store.update_file("models.config", lambda _: b"")
    digest = make_bundle(source)
    for name in ("letters", "digits"):
        store.publish(name, 1, bundle_of(source, digest))
    assert store.names() == ("digits", "letters")


def test_what_arrives_of_a_version_for_another_store_is_told_as_it_comes(store, source, tmp_path):
    digest = make_bundle(source)
    store.publish("digits", 1, bundle_of(source, digest))
    arrived = []
    bundle = store.bundle("digits", 1, arrived=arrived.append)
    into = tmp_path / "into"
    into.mkdir()
    sizes = [path.stat().st_size for path in bundle.fetch(into).rglob("*") if path.is_file()]
    assert sum(arrived) in {sum(sizes), sum(sizes) - (into / "manifest.json").stat().st_size}
    assert len(arrived) >= len(sizes) - 1


def test_a_published_version_is_published_in_another_store(store, source, tmp_path):
    digest = make_bundle(source)
    store.publish("digits", 1, bundle_of(source, digest))
    (tmp_path / "other").mkdir()
    other = open_store(str(tmp_path / "other"))
    bundle = store.bundle("digits", 1)
    assert bundle.manifest_digest == digest
    other.publish("digits", 1, bundle)
    assert other.verify("digits", 1, digest) == store.verify("digits", 1, digest)


def test_what_is_not_there_can_be_published_nowhere_else(store):
    with pytest.raises(NotFoundError, match=r"digits version 4 is not published"):
        store.bundle("digits", 4)


def test_a_version_s_files_are_at_hand_below_its_name_and_number(store, source):
    digest = make_bundle(source)
    store.publish("digits", 3, bundle_of(source, digest))
    with store.directory("digits", 3, lambda path: path.startswith("golden/")) as directory:
        assert directory.parts[-2:] == ("digits", "3")
        assert (directory / "assets.extra/slipway/golden/golden.npz").is_file()
        assert (directory / "assets.extra/slipway/manifest.json").is_file()
    with store.directory("digits", 3) as directory:
        assert (directory / "saved_model.pb").is_file()
    assert store.model_path("digits").endswith("/digits")
    with pytest.raises(NotFoundError, match="digits version 4 is not published"), store.directory("digits", 4):
        pass


def test_a_version_that_is_removed_is_gone_and_may_be_published_again(store, source):
    digest = make_bundle(source)
    for version in (1, 2):
        store.publish("digits", version, bundle_of(source, digest))
    store.remove("digits", 1)
    store.remove("digits", 1)
    assert store.versions("digits") == (2,)
    assert store.publish("digits", 1, bundle_of(source, digest)).created


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


def signed_bundle(source, digest, signature):
    return replace(bundle_of(source, digest), signature=signature)


def test_a_signature_is_kept_beside_the_version_and_goes_along_to_another_store(store, source, tmp_path):
    digest = make_bundle(source)
    store.publish("digits", 3, signed_bundle(source, digest, b"signed"))
    assert store.signature("digits", 3) == b"signed"
    assert store.versions("digits") == (3,)
    store.verify("digits", 3, digest)
    other = open_store(str(tmp_path / "other"))
    other.publish("digits", 3, store.bundle("digits", 3))
    assert (tmp_path / "other/digits/3.signature.json").read_bytes() == b"signed"


def test_a_version_without_a_signature_has_none(store, source):
    assert store.signature("digits", 3) is None
    store.publish("digits", 3, bundle_of(source, make_bundle(source)))
    assert store.signature("digits", 3) is None
    assert store.bundle("digits", 3).signature is None


def test_publishing_again_with_another_signature_replaces_it_and_without_one_does_not(store, source):
    digest = make_bundle(source)
    store.publish("digits", 3, signed_bundle(source, digest, b"old"))
    assert not store.publish("digits", 3, signed_bundle(source, digest, b"new")).created
    assert store.signature("digits", 3) == b"new"
    store.publish("digits", 3, bundle_of(source, digest))
    assert store.signature("digits", 3) == b"new"


def test_another_servable_s_signature_takes_no_place_beside_the_one_that_is_there(store, source, tmp_path):
    store.publish("digits", 3, signed_bundle(source, make_bundle(source), b"its own"))
    other = tmp_path / "other"
    with pytest.raises(ConflictError):
        store.publish("digits", 3, signed_bundle(other, make_bundle(other, seed=1), b"the other's"))
    assert store.signature("digits", 3) == b"its own"


def test_a_servable_that_is_refused_leaves_no_signature(store, source):
    make_bundle(source)
    with pytest.raises(IntegrityError):
        store.publish("digits", 3, signed_bundle(source, "0" * 64, b"signed"))
    assert store.signature("digits", 3) is None


def test_a_signature_is_removed_with_its_version(store, source):
    digest = make_bundle(source)
    for version in (2, 3):
        store.publish("digits", version, signed_bundle(source, digest, b"signed"))
    store.remove("digits", 3)
    assert store.signature("digits", 3) is None
    assert store.signature("digits", 2) == b"signed"
    store.publish("digits", 3, bundle_of(source, digest))
    assert store.signature("digits", 3) is None


@pytest.mark.parametrize(("name", "version"), [("../digits", 3), ("digits", 0), ("", 3)])
def test_a_signature_of_what_can_be_no_version_is_refused(store, name, version):
    with pytest.raises(InputError):
        store.signature(name, version)
