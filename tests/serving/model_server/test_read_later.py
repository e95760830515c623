"""What is checked of a servable's variant before it takes traffic, and what later."""

import shutil
from dataclasses import fields

import pytest

from serving.model_server.choosing import Candidate, Chooser
from serving.model_server.loading import checked_loader
from serving.model_server.runtimes import AUTO
from serving.model_server.runtimes.classifier import open_variant
from serving.servable.golden import load_golden
from serving.servable.layout import published_path, variant_path
from serving.servable.manifest import read_manifest, seal
from serving.servable.warmup import WARMUP_FILE, write_warmup
from slipway.errors import IntegrityError
from tests.serving.model_server.servables import COUNT, publish_servable

BOTH = {"onnx-fp32": 20.0, "openvino-fp32": 30.0}
FASTEST = "openvino-fp32"


@pytest.fixture
def version(tmp_path):
    return publish_servable(tmp_path / "m", 1, BOTH)


def damage(version, bundle_path):
    """Another byte in the place of the last one; the size stays."""
    path = version / published_path(bundle_path)
    data = path.read_bytes()
    path.write_bytes(data[:-1] + bytes([data[-1] ^ 1]))


@pytest.mark.parametrize(
    "used",
    [f"{variant_path(FASTEST)}/model.bin", f"{variant_path(FASTEST)}/golden.npz", "labels.json", "golden/golden.npz"],
)
def test_a_damaged_file_that_it_answers_by_refuses_the_version_and_nothing_takes_its_place(version, used):
    damage(version, used)
    with pytest.raises(IntegrityError, match=f"{used.rpartition('/')[2]}' has sha256"):
        checked_loader(Chooser(AUTO))(version)


def test_a_damaged_file_that_it_does_not_answer_by_is_found_once_it_takes_traffic(version):
    damage(version, f"{variant_path('onnx-fp32')}/model.onnx")
    loaded = checked_loader(Chooser(AUTO))(version)
    assert loaded.variant == (FASTEST, ())
    *before, read_the_rest = loaded.later
    for work in before:
        work()
    with pytest.raises(IntegrityError, match=r"onnx-fp32/model\.onnx' has sha256"):
        read_the_rest()
    loaded.runtime.close()


def test_a_damaged_file_is_found_before_the_variant_that_it_belongs_to_answers_in_another_s_place(tmp_path):
    version = publish_servable(tmp_path / "m", 1, BOTH, spoiled=[FASTEST])
    damage(version, f"{variant_path('onnx-fp32')}/model.onnx")
    with pytest.raises(IntegrityError, match=r"onnx-fp32/model\.onnx' has sha256"):
        checked_loader(Chooser(AUTO))(version)


def test_a_file_that_is_missing_added_or_of_another_size_refuses_at_once(version):
    unused = version / published_path(f"{variant_path('onnx-fp32')}/model.onnx")
    data = unused.read_bytes()
    for change in (unused.unlink, lambda: unused.write_bytes(data[:-1])):
        change()
        with pytest.raises(IntegrityError, match=r"model\.onnx' (is missing|has \d+ bytes); expected"):
            checked_loader(Chooser(AUTO))(version)
    unused.write_bytes(data)
    (version / "added").touch()
    with pytest.raises(IntegrityError, match="'added' is not in the manifest"):
        checked_loader(Chooser(AUTO))(version)


def test_another_manifest_is_not_taken_for_the_one_that_was_there_at_first(version):
    loaded = checked_loader(Chooser(AUTO))(version)
    manifest = version / published_path("manifest.json")
    manifest.write_bytes(manifest.read_bytes() + b" ")
    with pytest.raises(IntegrityError, match=r"manifest\.json' has sha256"):
        loaded.later[-1]()
    loaded.runtime.close()


class Recorder:
    """A variant's runtime that keeps what it was asked."""

    def __init__(self, inner):
        self.inner = inner
        self.signatures = inner.signatures
        self.asked = {"serving_default": 0, "serving_bytes": 0}

    def run(self, name, inputs, outputs):
        self.asked[name] += len(next(iter(inputs.values())))
        return self.inner.run(name, inputs, outputs)

    def close(self):
        self.inner.close()


def recorded(version, **how):
    manifest = read_manifest(version / published_path("manifest.json"))
    load = lambda directory: Recorder(open_variant("onnxruntime", "onnx-fp32", manifest)(directory))  # noqa: E731
    return checked_loader(lambda *_: [Candidate("onnx-fp32", load)], **how)(version)


def test_a_variant_answers_every_file_and_a_few_pixels_before_traffic_and_the_other_pixels_after(version):
    loaded = recorded(version)
    assert loaded.runtime.asked == {"serving_default": 4, "serving_bytes": COUNT}
    for work in loaded.later:
        work()
    assert loaded.runtime.asked == {"serving_default": COUNT, "serving_bytes": COUNT}
    loaded.runtime.close()


def test_golden_requests_are_a_variant_s_warmup_unless_more_is_asked_for(version):
    bundle = version.parent.parent / "bundle-1"
    write_warmup(bundle / "saved_model" / WARMUP_FILE, "m", load_golden(bundle / "golden"))
    sealed = read_manifest(bundle / "manifest.json")
    seal(bundle, **{item.name: getattr(sealed, item.name) for item in fields(sealed) if item.name != "files"})
    shutil.copytree(bundle / "saved_model", version, dirs_exist_ok=True)
    shutil.copy(bundle / "manifest.json", version / published_path("manifest.json"))
    for times, asked in (
        (1, {"serving_default": 4, "serving_bytes": COUNT}),
        (2, {"serving_default": 4 + 10, "serving_bytes": COUNT + 10}),
    ):
        loaded = recorded(version, warmup=times)
        assert loaded.runtime.asked == asked
        loaded.runtime.close()
