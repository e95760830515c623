"""A sealed servable: any change to any byte, name or file of it is found, in the bundle and where it is published."""

import json
import os
import random
import shutil
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from serving.servable.images import MAX_PIXELS
from serving.servable.manifest import Manifest, Measurement, VariantRecord, read_manifest, seal
from serving.servable.verification import verify_bundle, verify_published
from serving.stores import open_store
from slipway.errors import IntegrityError
from slipway.files import sha256_file
from tests.serving.stores.bundles import bundle_of, make_bundle

files = st.sampled_from(
    [
        "manifest.json",
        "labels.json",
        "golden/golden.npz",
        "saved_model/saved_model.pb",
        "saved_model/variables/variables.data-00000-of-00001",
        "saved_model/variables/variables.index",
        "saved_model/assets.extra/tf_serving_warmup_requests",
    ]
)
FACTS = {
    "run_id": "r",
    "git_commit": "c",
    "dataset_digest": "d",
    "image_size": (224, 160),
    "classes": 3,
    "variants": {"tensorflow-fp32": VariantRecord(1e-5, 3e-7)},
    "signatures": {"serving_default": {"inputs": {"input": {"dtype": "float32", "shape": [-1, 224, 160, 3]}}}},
}


@pytest.fixture(scope="module")
def sealed(tmp_path_factory):
    directory = tmp_path_factory.mktemp("sealed")
    return directory, make_bundle(directory / "bundle", size_bytes=2_000)


@pytest.fixture
def bundle(sealed):
    """The bundle's directory, as it was sealed, and the digest; a test may damage it."""
    directory, digest = sealed
    shutil.rmtree(directory / "copy", ignore_errors=True)
    return Path(shutil.copytree(directory / "bundle", directory / "copy")), digest


damages = settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture], derandomize=True
)


def test_a_sealed_bundle_verifies_and_tells_what_it_was_sealed_with(tmp_path):
    (tmp_path / "saved_model").mkdir()
    (tmp_path / "saved_model/saved_model.pb").write_bytes(b"graph")
    (tmp_path / "labels.json").write_bytes(b'["0"]')
    digest = seal(tmp_path, **FACTS)
    manifest = verify_bundle(tmp_path, digest)
    assert manifest == read_manifest(tmp_path / "manifest.json") == Manifest(**FACTS, files=manifest.files)
    assert digest == sha256_file(tmp_path / "manifest.json")
    assert manifest.files.keys() == {"saved_model/saved_model.pb", "labels.json"}
    assert manifest.size_bytes == 10


def test_sealing_the_same_twice_gives_the_same_digest_whatever_the_order_of_facts(tmp_path):
    (tmp_path / "labels.json").write_bytes(b"[]")
    first = seal(tmp_path, **FACTS)
    assert seal(tmp_path, **dict(reversed(FACTS.items()))) == first


def test_sealing_refuses_a_link_and_a_file_without_a_place(tmp_path):
    for path, link in (("saved_model/assets.extra/slipway/x", False), ("labels.json", True)):
        bundle = tmp_path / str(link)
        (bundle / path).parent.mkdir(parents=True)
        (bundle / path).symlink_to("/etc/hostname") if link else (bundle / path).write_text("")
        with pytest.raises(IntegrityError):
            seal(bundle, **FACTS)
        assert not (bundle / "manifest.json").exists()


def test_empty_directories_count_for_nothing_since_artifact_stores_drop_them(bundle):
    directory, digest = bundle
    (directory / "saved_model/assets").rmdir()
    (directory / "variants").mkdir()
    verify_bundle(directory, digest)


@damages
@given(file=files, position=st.floats(0, 1, exclude_max=True), bit=st.integers(0, 7))
def test_any_flipped_bit_is_found_and_its_file_named(bundle, file, position, bit):
    directory, digest = bundle
    data = bytearray((directory / file).read_bytes())
    whole = bytes(data)
    data[int(position * len(data))] ^= 1 << bit
    (directory / file).write_bytes(data)
    try:
        with pytest.raises(IntegrityError, match=file.rsplit("/", 1)[-1]):
            verify_bundle(directory, digest)
    finally:
        (directory / file).write_bytes(whole)
    verify_bundle(directory, digest)


@damages
@given(file=files, change=st.sampled_from(["remove", "rename", "truncate", "append", "link", "directory"]))
def test_any_file_removed_renamed_resized_or_replaced_is_found(bundle, file, change):
    directory, digest = bundle
    path = directory / file
    whole = path.read_bytes()
    aside = path.with_name("moved")
    path.rename(aside)
    if change in {"truncate", "append"}:
        path.write_bytes(whole[:-1] if change == "truncate" else whole + b"\0")
        aside.unlink()
    elif change == "directory":
        path.mkdir()
        aside.unlink()
    elif change != "rename":
        aside.rename(directory.parent / "outside")
        if change == "link":
            path.symlink_to(directory.parent / "outside")
    try:
        with pytest.raises(IntegrityError):
            verify_bundle(directory, digest)
    finally:
        path.rmdir() if change == "directory" else path.unlink(missing_ok=True)
        aside.unlink(missing_ok=True)
        path.write_bytes(whole)
    verify_bundle(directory, digest)


@damages
@given(
    directory=st.sampled_from(["", "saved_model/", "saved_model/variables/", "golden/", "new/"]),
    name=st.text("abc.-_é \n", min_size=1, max_size=8).filter(lambda name: name not in {".", ".."}),
)
def test_any_file_added_is_found_and_named(bundle, directory, name):
    root, digest = bundle
    added = root / (directory + name)
    added.parent.mkdir(exist_ok=True)
    added.write_bytes(b"")
    try:
        with pytest.raises(IntegrityError) as caught:
            verify_bundle(root, digest)
    finally:
        added.unlink()
    assert repr(directory + name) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_two_files_that_changed_places_are_found(bundle):
    directory, digest = bundle
    one, other = directory / "labels.json", directory / "saved_model/variables/variables.index"
    assert one.stat().st_size == other.stat().st_size
    one.rename(directory / "x")
    other.rename(one)
    (directory / "x").rename(other)
    with pytest.raises(IntegrityError):
        verify_bundle(directory, digest)


def test_a_pipe_in_the_place_of_a_file_is_refused_without_waiting_for_it(bundle):
    directory, digest = bundle
    (directory / "labels.json").unlink()
    os.mkfifo(directory / "labels.json")
    with pytest.raises(IntegrityError, match=r"labels\.json"):
        verify_bundle(directory, digest)


def test_without_an_expected_digest_the_manifest_that_is_there_is_held_to(bundle):
    directory, _ = bundle
    verify_bundle(directory, None)
    (directory / "labels.json").write_bytes(b"[]")
    with pytest.raises(IntegrityError, match=r"labels\.json"):
        verify_bundle(directory, None)


def test_with_an_expected_digest_another_sealed_bundle_is_refused(bundle, tmp_path):
    _, digest = bundle
    make_bundle(tmp_path / "other", size_bytes=2_000, seed=1)
    with pytest.raises(IntegrityError, match=digest):
        verify_bundle(tmp_path / "other", digest)


def test_a_published_version_is_held_to_the_same(bundle, tmp_path):
    """One flipped bit in each published file in turn, an added file, and a SavedModel's file gone astray."""
    directory, digest = bundle
    open_store(str(tmp_path)).publish("digits", 1, bundle_of(directory, digest))
    version = tmp_path / "digits/1"
    assert verify_published(version, digest) == verify_bundle(directory, digest)
    rng = random.Random(0)
    published = [path for path in version.rglob("*") if path.is_file()]
    assert len(published) == 7
    for path in published:
        whole = path.read_bytes()
        damaged = bytearray(whole)
        damaged[rng.randrange(len(damaged))] ^= 1 << rng.randrange(8)
        path.write_bytes(damaged)
        with pytest.raises(IntegrityError, match=path.name):
            verify_published(version, digest)
        path.write_bytes(whole)
    for added in ("extra", "assets.extra/extra", "assets.extra/slipway/extra"):
        (version / added).write_bytes(b"")
        with pytest.raises(IntegrityError, match=added):
            verify_published(version, digest)
        (version / added).unlink()
    verify_published(version, digest)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda document: document.update(format=2), "format 2"),
        (lambda document: document.pop("format"), "'format' is missing"),
        (lambda document: document.pop("run_id"), "'run_id' is missing"),
        (lambda document: document.update(run_id=7), "str is expected"),
        (lambda document: document.update(image_size=[1, 2, 3]), "unpack"),
        (lambda document: document.update(classes=-1), "-1"),
        (lambda document: document.update(classes=True), "True"),
        (lambda document: document["files"].update({"../x": {"sha256": "0" * 64, "size_bytes": 0}}), "../x"),
        (lambda document: document["files"].update({"x": {"sha256": "0" * 63, "size_bytes": 0}}), "sha256"),
        (lambda document: document["files"].update({"x\ud800": {"sha256": "0" * 64, "size_bytes": 0}}), "Unicode"),
        (lambda document: document["variants"].update({"x": {"tolerance": float("nan"), "parity": 0}}), "NaN"),
        (lambda document: document["variants"].update({"x": {"tolerance": 10**400, "parity": 0}}), "too large"),
    ],
)
def test_a_manifest_that_says_what_none_can_is_refused_with_the_reason(bundle, change, reason):
    directory, _ = bundle
    document = json.loads((directory / "manifest.json").read_bytes())
    change(document)
    (directory / "manifest.json").write_text(json.dumps(document))
    for read in (lambda: read_manifest(directory / "manifest.json"), lambda: verify_bundle(directory, None)):
        with pytest.raises(IntegrityError, match="manifest") as caught:
            read()
        assert reason in str(caught.value)
        assert "\n" not in str(caught.value)


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=5,
)
keys = st.sampled_from(["format", "image_size", "classes", "variants", "signatures", "files", "run_id"])


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(
    content=st.binary()
    | json_values.map(lambda value: json.dumps(value).encode())
    | st.dictionaries(keys, json_values).map(lambda value: json.dumps({"format": 1} | value).encode())
)
def test_whatever_stands_in_place_of_a_manifest_is_refused_as_such(tmp_path, content):
    (tmp_path / "manifest.json").write_bytes(content)
    with pytest.raises(IntegrityError):
        read_manifest(tmp_path / "manifest.json")


def test_a_missing_manifest_is_refused_with_its_path(tmp_path):
    with pytest.raises(IntegrityError, match=str(tmp_path / "manifest.json")):
        read_manifest(tmp_path / "manifest.json")
    with pytest.raises(IntegrityError, match=r"manifest\.json"):
        verify_bundle(tmp_path, None)


MEASURED = Measurement(179, 0.95, 0.005, -0.01, 0.02, 0.99, 0.1, 120.5, 8.0, 9.5, 0.5, 90_000_000, 26_000_000, "a CPU")


def test_a_manifest_keeps_what_variants_measured_and_why_others_were_refused(tmp_path):
    (tmp_path / "labels.json").write_bytes(b"[]")
    variants = {"tensorflow-fp32": VariantRecord(1e-4, 0.0), "openvino-int8": VariantRecord(0.02, 0.015, MEASURED)}
    seal(tmp_path, **FACTS | {"variants": variants}, max_pixels=1000, refused_variants={"litert-int8": "it is slow"})
    manifest = read_manifest(tmp_path / "manifest.json")
    assert manifest.variants == variants
    assert (manifest.max_pixels, manifest.refused_variants) == (1000, {"litert-int8": "it is slow"})


def test_a_manifest_from_before_there_were_variants_is_read(tmp_path):
    (tmp_path / "labels.json").write_bytes(b"[]")
    seal(tmp_path, **FACTS)
    document = json.loads((tmp_path / "manifest.json").read_bytes())
    for key in ("max_pixels", "refused_variants"):
        del document[key]
    del document["variants"]["tensorflow-fp32"]["measured"]
    (tmp_path / "manifest.json").write_text(json.dumps(document))
    manifest = verify_bundle(tmp_path, None)
    assert manifest.variants == FACTS["variants"]
    assert (manifest.max_pixels, manifest.refused_variants) == (MAX_PIXELS, {})


@pytest.mark.parametrize("change", [{"throughput": None}, {"images": 1.5}, {"processor": 7}, {"accuracy": "high"}])
def test_a_measurement_of_another_type_is_refused(tmp_path, change):
    (tmp_path / "labels.json").write_bytes(b"[]")
    seal(tmp_path, **FACTS | {"variants": {"onnx-fp32": VariantRecord(1e-4, 0.0, MEASURED)}})
    document = json.loads((tmp_path / "manifest.json").read_bytes())
    document["variants"]["onnx-fp32"]["measured"] |= change
    (tmp_path / "manifest.json").write_text(json.dumps(document))
    with pytest.raises(IntegrityError, match="not a servable's manifest"):
        read_manifest(tmp_path / "manifest.json")
