"""What a version must pass before it takes traffic."""

import shutil

import numpy as np
import pytest

from serving.model_server.choosing import Candidate, Chooser
from serving.model_server.errors import ServingError
from serving.model_server.loading import checked_loader
from serving.servable.golden import GoldenRequests, save_golden
from serving.servable.layout import published_path
from serving.servable.manifest import VariantRecord, seal
from serving.servable.warmup import WARMUP_FILE, write_warmup
from serving.wire.classification_pb2 import ClassificationRequest
from serving.wire.example_pb2 import Example
from serving.wire.inference_pb2 import MultiInferenceRequest
from serving.wire.model_pb2 import ModelSpec
from serving.wire.predict_pb2 import PredictRequest
from serving.wire.prediction_log_pb2 import (
    ClassifyLog,
    MultiInferenceLog,
    PredictionLog,
    PredictLog,
    RegressLog,
    SessionRunLog,
)
from serving.wire.regression_pb2 import RegressionRequest
from serving.wire.tensors import to_proto
from serving.wire.tfrecord import write_records
from slipway.errors import IntegrityError
from tests.serving.model_server.fakes import SIGNATURES, FakeRuntime, put_version, signature

VARIANT = "tensorflow-fp32"
COUNT = 32
FEW = 2  # golden requests of each signature that it is asked before it can be asked by its number


def only(load):
    """A choice of nothing but this."""
    return lambda _directory, _manifest: [Candidate(VARIANT, load)]


def load_fake(directory):
    return FakeRuntime(1)


class Classifier:
    """The mean of each third of the picture's rows, and a shift that a bad build would have."""

    def __init__(self, shift=0.0):
        outputs = {"output": ("float", [-1, 3]), "class_id": ("int64", [-1])}
        self.signatures = {
            "serving_default": signature({"input": ("float", [-1, 6, 2, 3])}, outputs),
            "serving_bytes": signature({"image_bytes": ("string", [-1])}, outputs),
        }
        self.shift = shift
        self.asked = []
        self.closed = False

    def run(self, name, inputs, outputs):
        self.asked.append((name, len(next(iter(inputs.values())))))
        if name == "serving_default":
            output = inputs["input"].reshape(-1, 3, 12).mean(2)
        else:
            output = np.stack([np.frombuffer(data, np.float32) for data in inputs["image_bytes"]])
        output = output + np.array([self.shift, 0, 0], np.float32)
        found = {"output": output, "class_id": output.argmax(1)}
        return {key: found[key] for key in outputs}

    def close(self):
        self.closed = True


@pytest.fixture
def golden():
    rng = np.random.default_rng(0)
    pixels = rng.integers(0, 256, (COUNT, 6, 2, 3), np.uint8)
    probabilities = rng.random((COUNT, 3), np.float32)
    expected = Classifier().run("serving_default", {"input": pixels.astype(np.float32)}, ["output"])["output"]
    return GoldenRequests(pixels, expected, tuple(row.tobytes() for row in probabilities), probabilities)


@pytest.fixture
def version(tmp_path, golden):
    """A published version, sealed with golden requests and warmup."""
    bundle = tmp_path / "bundle"
    (bundle / "saved_model" / "variables").mkdir(parents=True)
    (bundle / "saved_model" / "saved_model.pb").write_bytes(b"graph")
    (bundle / "saved_model" / "variables" / "variables.index").write_bytes(b"index")
    (bundle / "labels.json").write_text('["a", "b", "c"]')
    save_golden(golden, bundle / "golden")
    write_warmup(bundle / "saved_model" / WARMUP_FILE, "m", golden)
    seal(
        bundle,
        run_id="r",
        git_commit="c",
        dataset_digest="d",
        image_size=(6, 2),
        classes=3,
        variants={VARIANT: VariantRecord(tolerance=1e-4, parity=0.0)},
        signatures={},
    )
    version = tmp_path / "m" / "1"
    for path in bundle.rglob("*"):
        if path.is_file():
            target = version / published_path(path.relative_to(bundle).as_posix())
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(path, target)
    return version


def test_a_version_answers_its_warmup_and_then_its_golden_requests(version):
    runtime = Classifier()
    checked_loader(only(lambda _: runtime))(version).owed(0.0, lambda: True)
    warmup = [("serving_default", 1), ("serving_bytes", 1), ("serving_default", 4), ("serving_bytes", 4)]
    assert runtime.asked[:4] == warmup
    assert sum(count for name, count in runtime.asked[4:] if name == "serving_default") == COUNT
    assert sum(count for name, count in runtime.asked[4:] if name == "serving_bytes") == COUNT
    assert not runtime.closed


def test_warmup_can_be_left_out_but_golden_requests_cannot(version):
    runtime = Classifier()
    loaded = checked_loader(only(lambda _: runtime), warmup=0)(version)
    assert runtime.asked == [("serving_default", FEW), ("serving_bytes", FEW)]
    loaded.owed(0.0, lambda: True)
    assert sum(count for _, count in runtime.asked) == 2 * COUNT


def test_a_version_that_gives_other_answers_is_not_served_and_its_memory_is_given_back(version):
    runtime = Classifier(shift=0.01)
    with pytest.raises(IntegrityError, match="its golden requests are not answered as when it was built: refused"):
        checked_loader(only(lambda _: runtime))(version)
    assert runtime.closed


def test_a_version_with_an_altered_file_is_not_even_loaded(version):
    (version / "variables" / "variables.index").write_bytes(b"altered")
    loaded = []
    with pytest.raises(IntegrityError, match=r"variables\.index"):
        checked_loader(only(loaded.append))(version)
    assert loaded == []


def test_a_variant_that_the_manifest_lacks_is_refused(version):
    with pytest.raises(IntegrityError, match="its manifest has variants tensorflow-fp32; expected 'openvino-int8'"):
        checked_loader(Chooser(variant="openvino-int8"))(version)


def put_warmup(version, *logs):
    path = version / WARMUP_FILE
    path.parent.mkdir(parents=True)
    write_records(path, [log if isinstance(log, bytes) else log.SerializeToString() for log in logs])


def request_log(signature_name, **inputs):
    request = PredictRequest()
    request.model_spec.signature_name = signature_name
    for name, array in inputs.items():
        request.inputs[name].CopyFrom(to_proto(array))
    return PredictionLog(predict_log=PredictLog(request=request))


def example_log(signature_name, *examples):
    """Records of the other kinds, for the same signature and examples."""
    request = RegressionRequest()
    request.model_spec.name, request.model_spec.signature_name = "m", signature_name
    request.input.example_list.examples.extend(examples)
    return PredictionLog(regress_log=RegressLog(request=request))


GOOD = request_log("", x=np.ones(2, np.float32))


@pytest.fixture
def foreign(tmp_path):
    """A version that Slipway did not make."""
    return put_version(tmp_path / "m", 1, 1)


def test_a_version_without_manifest_or_warmup_is_just_loaded(foreign):
    assert checked_loader(only(load_fake))(foreign).runtime.signatures is SIGNATURES


def test_a_kind_of_warmup_that_is_not_run_here_is_said(foreign, caplog):
    put_warmup(foreign, GOOD, PredictionLog(session_run_log=SessionRunLog()))
    checked_loader(only(load_fake))(foreign)
    assert "record 1 is a session_run_log, which is not run here" in caplog.text


class Recording(FakeRuntime):
    def __init__(self):
        super().__init__(1)
        self.asked = []

    def run(self, name, inputs, outputs):
        self.asked.append((name, list(outputs)))
        return super().run(name, inputs, outputs)


def test_every_kind_of_inference_is_warmed_up_as_often_as_is_asked(foreign):
    regress = example_log("size", Example())
    classify = ClassificationRequest(
        model_spec=ModelSpec(signature_name="sizes"), input=regress.regress_log.request.input
    )
    several = MultiInferenceRequest(input=classify.input)
    several.tasks.add(model_spec=regress.regress_log.request.model_spec, method_name="tensorflow/serving/regress")
    logs = (
        GOOD,
        regress,
        PredictionLog(classify_log=ClassifyLog(request=classify)),
        PredictionLog(multi_inference_log=MultiInferenceLog(request=several)),
    )
    put_warmup(foreign, *logs)
    runtime = Recording()
    checked_loader(only(lambda _: runtime), warmup=2)(foreign)
    kinds = [("serving_default", ["y"]), ("size", ["outputs"]), ("sizes", ["classes", "scores"]), ("size", ["outputs"])]
    assert runtime.asked == [kind for kind in kinds for _ in range(2)]


@pytest.mark.parametrize(
    ("logs", "message"),
    [
        ([GOOD, b"\xff\xff"], "Failed to parse warmup record: number 1"),
        (
            [request_log("", z=np.ones(1, np.float32))],
            r"Signature input alias: x\(feed name: x:0\) not found in request",
        ),
        ([request_log("refuse", x=np.ones(1, np.float32))], "the graph refuses this"),
        ([PredictionLog(classify_log=ClassifyLog())], "No classification inputs found in SignatureDef"),
        ([example_log("size")], "Input is empty."),
        ([GOOD] * 1001, r"exceeds the maximum \(1000\)"),
    ],
)
def test_a_bad_warmup_record_fails_the_load(foreign, logs, message):
    put_warmup(foreign, *logs)
    runtime = FakeRuntime(1)
    with pytest.raises(ServingError, match=message):
        checked_loader(only(lambda _: runtime))(foreign)
    assert runtime.closed


def test_a_warmup_file_that_is_cut_short_fails_the_load(foreign):
    put_warmup(foreign, GOOD)
    path = foreign / WARMUP_FILE
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(IntegrityError, match="cut short"):
        checked_loader(only(load_fake))(foreign)
