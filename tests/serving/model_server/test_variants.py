"""A servable's variants: as good as its SavedModel, chosen by flag or by speed, and passed over where they fail."""

import sys

import numpy as np
import pytest

from serving.model_server.choosing import Candidate, Chooser
from serving.model_server.errors import ServingError, invalid_argument
from serving.model_server.flag_parsing import parse_flags
from serving.model_server.loading import checked_loader
from serving.model_server.predict import predict
from serving.model_server.runtimes import AUTO
from serving.model_server.runtimes.classifier import Reference
from serving.servable.layout import published_path
from serving.wire.status_pb2 import Code
from slipway.errors import InputError, IntegrityError, UnavailableError
from tests.serving.model_server.fakes import FakeRuntime, put_version
from tests.serving.model_server.servables import LABELS, SIGNATURES, SIZE, answers, png, publish_servable

BOTH = {"onnx-fp32": 20.0, "openvino-fp32": 30.0}


@pytest.fixture
def base(tmp_path):
    return tmp_path / "m"


@pytest.fixture(scope="module", params=BOTH)
def runtime(request, tmp_path_factory):
    version = publish_servable(tmp_path_factory.mktemp("base") / "m", 1, BOTH)
    loaded = checked_loader(Chooser(variant=request.param))(version)
    assert loaded.variant == (request.param, ())
    yield loaded.runtime
    loaded.runtime.close()


def pictures(count):
    return np.random.default_rng(count).integers(0, 256, (count, *SIZE, 3), np.uint8)


def encoded(*data):
    array = np.empty(len(data), object)
    array[:] = data
    return {"image_bytes": array}


def test_a_variant_has_the_signatures_of_the_saved_model(runtime):
    assert dict(runtime.signatures) == SIGNATURES


@pytest.mark.parametrize("count", [0, 1, 2, 9])
@pytest.mark.parametrize("signature", ["serving_default", "serving_bytes"])
def test_a_variant_answers_as_the_saved_model_does_with_classes_and_labels(runtime, signature, count):
    images = pictures(count)
    given = {"input": images.astype(np.float32)} if signature == "serving_default" else encoded(*map(png, images))
    answer = predict(runtime, signature, given)
    expected = answers(images)
    np.testing.assert_allclose(answer["output"], expected, atol=1e-6)
    assert answer["output"].dtype == np.float32
    assert answer["class_id"].dtype == np.int64
    assert answer["class_id"].tolist() == expected.argmax(1).tolist()
    assert answer["label"].tolist() == [LABELS[number].encode() for number in expected.argmax(1)]


def test_only_the_outputs_asked_for_are_given(runtime):
    answer = predict(runtime, "serving_default", {"input": pictures(2).astype(np.float32)}, ["label"])
    assert set(answer) == {"label"}


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"no image", "data of 8 bytes is no image; expected JPEG, PNG, GIF or BMP"),
        (png(np.zeros((6, 4, 3), np.uint8))[:60], "PNG data is damaged or truncated"),
        (png(np.zeros((40, 40, 3), np.uint8)), "image has 1600 pixels, over the limit of 1000"),
    ],
)
@pytest.mark.parametrize("beside", [0, 3])
def test_an_image_that_cannot_be_decoded_is_the_clients_fault(runtime, data, message, beside):
    good = [png(image) for image in pictures(beside)]
    with pytest.raises(ServingError, match=message) as raised:
        predict(runtime, "serving_bytes", encoded(*good, data))
    assert raised.value.code == Code.INVALID_ARGUMENT


def test_images_of_another_size_are_refused_as_tensors(runtime):
    with pytest.raises(ServingError, match=r"'input' has shape \[1,4,6,3\]"):
        predict(runtime, "serving_default", {"input": np.zeros((1, 4, 6, 3), np.float32)})


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ("assertion failed: [image has 1600 pixels, over the limit of 1000]", "image has 1600 pixels, over the limit"),
        ("Invalid PNG data, size 60", "PNG data is damaged or truncated"),
    ],
)
def test_the_saved_model_refuses_images_in_the_same_words(words, expected):
    class Refusing(FakeRuntime):
        def run(self, *_):
            raise invalid_argument(words)

    with pytest.raises(ServingError, match=expected) as raised:
        Reference(Refusing(1)).run("serving_bytes", {}, [])
    assert raised.value.code == Code.INVALID_ARGUMENT
    assert "assertion" not in raised.value.message


def load(version, **how):
    loaded = checked_loader(Chooser(**how))(version)
    loaded.runtime.close()
    return loaded.variant


def test_auto_takes_the_variant_that_was_measured_fastest(base):
    assert load(publish_servable(base, 1, BOTH), runtime=AUTO).name == "openvino-fp32"
    assert load(publish_servable(base, 2, {**BOTH, "onnx-fp32": 40.0}), runtime=AUTO).name == "onnx-fp32"


def test_a_runtime_takes_the_fastest_of_its_own_variants(base):
    version = publish_servable(base, 1, {**BOTH, "openvino-bf16": 25.0})
    assert load(version, runtime="onnxruntime").name == "onnx-fp32"
    assert load(version, runtime="openvino").name == "openvino-fp32"


def test_auto_falls_back_when_this_machine_gives_other_answers_and_says_so(base, caplog):
    variant = load(publish_servable(base, 1, BOTH, spoiled=["openvino-fp32"]), runtime=AUTO)
    assert variant.name == "onnx-fp32"
    (reason,) = variant.passed_over
    assert reason.startswith("openvino-fp32: ")
    assert "golden requests are not answered" in reason
    assert "openvino-fp32 does not answer here" in caplog.text


def test_auto_falls_back_when_a_package_is_missing(base, monkeypatch):
    version = publish_servable(base, 1, {"onnx-fp32": 40.0, "openvino-fp32": 30.0})
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    variant = load(version, runtime=AUTO)
    assert variant.name == "openvino-fp32"
    assert "pip install 'slipway[onnx]'" in variant.passed_over[0]


def test_auto_tries_the_saved_model_last(base):
    candidates = Chooser(AUTO)(base, manifest_of(publish_servable(base, 1, BOTH)))
    assert [candidate.name for candidate in candidates] == ["openvino-fp32", "onnx-fp32", "tensorflow-fp32"]


def manifest_of(version):
    from serving.servable.verification import verify_published

    return verify_published(version, None)


def test_a_variant_named_exactly_is_served_or_nothing_is(base):
    spoiled = publish_servable(base, 1, BOTH, spoiled=["openvino-fp32"])
    with pytest.raises(IntegrityError, match="golden requests are not answered"):
        load(spoiled, variant="openvino-fp32")
    with pytest.raises(IntegrityError, match=r"has variants onnx-fp32, .*; expected 'openvino-int8'"):
        load(spoiled, variant="openvino-int8")


def test_a_runtime_without_a_variant_is_refused_with_those_there_are(base):
    with pytest.raises(IntegrityError, match="has variants onnx-fp32, tensorflow-fp32; expected one for openvino"):
        load(publish_servable(base, 1, {"onnx-fp32": 1.0}), runtime="openvino")


def test_what_the_last_one_failed_by_is_the_loads_failure(base):
    version = put_version(base, 1, 1)

    def missing(_directory):
        raise UnavailableError("no package")

    def choose(_directory, _manifest):
        return [Candidate("first", lambda _: (_ for _ in ()).throw(ValueError("first"))), Candidate("last", missing)]

    with pytest.raises(UnavailableError, match="no package"):
        checked_loader(choose)(version)


def test_whatever_a_candidate_raises_the_next_one_is_tried(base):
    def broken(_directory):
        raise RuntimeError("one line\nand more")

    loaded = checked_loader(lambda *_: [Candidate("a", broken), Candidate("b", lambda _: FakeRuntime(1))])(
        put_version(base, 1, 1)
    )
    assert loaded.variant == ("b", ("a: one line",))


def test_a_version_of_other_make_is_served_by_what_it_holds(tmp_path):
    for name, file in (("openvino", "model.xml"), ("onnxruntime", "model.onnx"), ("litert", "model.tflite")):
        version = tmp_path / name
        version.mkdir()
        (version / file).touch()
        assert [candidate.name for candidate in Chooser(AUTO)(version, None)] == [name]
    (tmp_path / "litert" / "saved_model.pb").touch()
    assert Chooser(AUTO)(tmp_path / "litert", None)[0].name == "tensorflow"
    assert Chooser(AUTO, prefer_tflite=True)(tmp_path / "litert", None)[0].name == "litert"


def test_labels_that_do_not_fit_the_classes_are_refused(base):
    version = publish_servable(base, 1, BOTH)
    manifest = manifest_of(version)
    (version / published_path("labels.json")).write_text('["a"]')
    (candidate,) = Chooser(variant="onnx-fp32")(version, manifest)
    with pytest.raises(IntegrityError, match="1 labels; expected 3"):
        candidate.load(version)


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--variant=onnxx-fp32"], r"--variant=onnxx-fp32: expected one of tensorflow-\.\.\., openvino-"),
        (["--variant=onnx-fp32", "--runtime=openvino"], "does not execute --variant=onnx-fp32"),
        (["--runtime=onnx"], "expected one of tensorflow, openvino, onnxruntime, litert, auto"),
    ],
)
def test_flags_that_exclude_each_other_are_refused(flags, message):
    with pytest.raises(InputError, match=message):
        parse_flags(["--model_base_path=/m", *flags])


def test_a_variant_may_be_named_beside_auto_or_its_own_runtime():
    for runtime in ("onnxruntime", "auto"):
        flags = parse_flags(["--model_base_path=/m", "--variant=onnx-fp32", f"--runtime={runtime}"])
        assert flags.variant == "onnx-fp32"
