"""A run's network in other forms: built once, measured, refused where accuracy is lost, and served where not."""

import json
import re

import numpy as np
import pytest

from serving.servable.manifest import read_manifest
from serving.servable.verification import verify_published
from slipway.files import sha256_file
from tests.pipeline.conftest import GOOD, ended_well
from tests.pipeline.lifecycle_world import NAME, NETWORK, World

pytestmark = pytest.mark.integration

QUICK = ("--rounds", "2", "--round-seconds", "0.1")
LENIENT = ("--maximum-accuracy-drop", "0.02", "--minimum-agreement", "0.95")
VARIANTS = ("onnx-fp32", "openvino-int8")


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    return World(tmp_path_factory.mktemp("optimize"))


@pytest.fixture(scope="module")
def patch():
    with pytest.MonkeyPatch.context() as patch:
        yield patch


@pytest.fixture(scope="module")
def run_id(world, patch):
    """A trained, evaluated run that is to have variants."""
    train = ended_well(world.call(patch, "train", *NETWORK, *GOOD, "--variants", ",".join(VARIANTS)))
    evaluate = ended_well(world.call(patch, *train.next_words))
    assert evaluate.next_words[0] == "optimize"
    return train.found(r"run ([0-9a-f]{32})")


@pytest.fixture(scope="module")
def unoptimized(world, patch, run_id):
    """What `register` says before there are variants."""
    return world.call(patch, "register", "--run-id", run_id)


@pytest.fixture(scope="module")
def optimized(world, patch, run_id, unoptimized):
    """What the first `optimize` printed."""
    return ended_well(world.call(patch, "optimize", "--run-id", run_id, *QUICK, *LENIENT))


def folder(world, run_id):
    (found,) = world.folder.glob(f"mlruns/*/{run_id}/artifacts/optimize")
    return found


def report(world, run_id):
    return json.loads((folder(world, run_id) / "report.json").read_bytes())


def test_register_refuses_a_run_whose_variants_are_not_built(unoptimized, run_id):
    assert unoptimized.code == 2
    assert f"slipway optimize --run-id {run_id}" in unoptimized.error


def test_a_variant_that_holds_passes_with_every_number_measured(world, run_id, optimized):
    found = report(world, run_id)
    assert set(found["passed"]) == set(VARIANTS)
    for name in ("tensorflow-fp32", *VARIANTS):
        measured = found["measured"][name]
        assert measured["images"] == 179
        assert all(measured[key] > 0 for key in ("throughput", "p50_ms", "p95_ms", "load_s", "memory_bytes"))
        assert measured["drop_low"] <= measured["accuracy_drop"] <= measured["drop_high"]
    assert found["measured"]["onnx-fp32"]["agreement"] == 1.0
    assert found["measured"]["onnx-fp32"]["largest_difference"] < 1e-4
    assert found["measured"]["tensorflow-fp32"]["largest_difference"] < 1e-5
    assert {file.name for file in folder(world, run_id).iterdir()} >= {"variants.csv", "variants.md", "variants.png"}
    assert re.search(r"^onnx-fp32 +passed", optimized.out, re.MULTILINE)


def test_a_version_carries_its_variants_published_and_each_answers_its_own_golden_requests(
    world, patch, run_id, optimized
):
    from serving.model_server.choosing import Chooser
    from serving.model_server.loading import checked_loader

    ended_well(world.call(patch, "register", "--run-id", run_id))
    ended_well(world.call(patch, "export", "--version", "1"))
    published = world.base / NAME / "1"
    manifest = verify_published(published, world.registry.version(NAME, 1).tags["slipway.manifest_digest"])
    assert set(manifest.variants) == {"tensorflow-fp32", *VARIANTS}
    for name in VARIANTS:
        record = manifest.variants[name]
        assert 1e-4 <= record.tolerance <= 0.25
        assert record.measured.throughput > 0
        loaded = checked_loader(Chooser(variant=name))(published)
        assert loaded.variant.name == name
        loaded.runtime.close()
    assert (published / "assets.extra/slipway/variants/openvino-int8/model.xml").is_file()


def test_a_variant_is_handed_out_as_a_file_with_its_labels(world, patch, optimized, tmp_path):
    to = tmp_path / "digits.onnx"
    ended_well(world.call(patch, "export", "--version", "1", "--variant", "onnx-fp32", "--to", to))
    manifest = read_manifest(world.servable(1) / "manifest.json")
    assert sha256_file(to) == manifest.files["variants/onnx-fp32/model.onnx"].sha256
    assert json.loads((tmp_path / "digits.onnx.labels.json").read_text()) == [str(digit) for digit in range(10)]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--variant", "openvino-int8"), "is 2 files"),
        (("--variant", "litert-fp32"), "expected one of its own: onnx-fp32, openvino-int8"),
        (("--variant", "tensorflow-fp32"), "no variant 'tensorflow-fp32' that is a file"),
    ],
)
def test_what_is_no_single_file_is_not_handed_out(world, patch, optimized, tmp_path, words, said):
    done = world.call(patch, "export", "--version", "1", *words, "--to", tmp_path / "model")
    assert done.code == 2
    assert said in done.error
    assert not list(tmp_path.iterdir())


def test_a_variant_that_was_built_is_not_built_again_and_one_made_bad_is_refused_with_its_reason(
    world, patch, run_id, optimized
):
    spoil(folder(world, run_id) / "built" / "onnx-fp32.json")
    done = world.call(patch, "optimize", "--run-id", run_id, *QUICK, *LENIENT)
    assert "onnx-fp32: built before" in done.err
    assert "openvino-int8: built before" in done.err
    found = report(world, run_id)
    assert set(found["passed"]) == {"openvino-int8"}
    assert re.search(r"its accuracy is 0\.\d+ below the trained network's", found["refused"]["onnx-fp32"])
    assert found["refused"]["onnx-fp32"] in done.out
    assert done.code == 0


def test_a_kept_variant_that_was_changed_is_not_taken(world, patch, run_id, optimized, monkeypatch):
    file = folder(world, run_id) / "built" / "openvino-int8" / "model.bin"
    whole = file.read_bytes()
    file.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
    try:
        done = world.call(patch, "optimize", "--run-id", run_id, *QUICK)
    finally:
        file.write_bytes(whole)
    assert done.code == 1
    assert "openvino-int8/model.bin is not what was logged" in done.error


def spoil(record):
    """Turn the kept ONNX network's last weights about, and its digest with it, as a bad conversion would."""
    import onnx
    from onnx import numpy_helper

    file = record.parent / record.stem / "model.onnx"
    model = onnx.load(file)
    last = next(each for each in reversed(model.graph.initializer) if list(each.dims) == [1024, 10])
    last.CopyFrom(numpy_helper.from_array(np.roll(numpy_helper.to_array(last), 1, axis=1), last.name))
    onnx.save(model, file)
    document = json.loads(record.read_bytes())
    document["sha256"]["model.onnx"] = sha256_file(file)
    record.write_text(json.dumps(document))
