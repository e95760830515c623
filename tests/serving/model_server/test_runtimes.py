"""What every runtime promises, held against each of them."""

import sys
import threading

import numpy as np
import pytest

from serving.model_server.errors import ServingError
from serving.model_server.predict import predict
from serving.model_server.runtimes import RUNTIMES, open_runtime
from serving.servable.variants.openvino import PRECISION_AT
from serving.wire.status_pb2 import Code
from serving.wire.tensor_pb2 import DataType
from slipway.errors import IntegrityError, UnavailableError
from tests.serving.model_server import plain_models
from tests.serving.model_server.servables import SIZE, answers, write_network

WRITERS = {
    "tensorflow": plain_models.write_saved_model,
    "openvino": plain_models.write_openvino,
    "onnxruntime": plain_models.write_onnx,
    "litert": plain_models.write_litert,
}
NEED_TENSORFLOW = {"tensorflow", "litert"}  # to write the model
BY_ITSELF = [name for name in RUNTIMES if name not in NEED_TENSORFLOW]


def with_tensorflow_marked(names):
    return [pytest.param(name, marks=[pytest.mark.integration] * (name in NEED_TENSORFLOW)) for name in names]


@pytest.fixture(scope="module", params=with_tensorflow_marked(RUNTIMES))
def runtime(request, tmp_path_factory):
    directory = tmp_path_factory.mktemp(request.param)
    WRITERS[request.param](directory)
    loaded = open_runtime(request.param)(directory)
    yield loaded
    loaded.close()


def inputs(*rows, b=None):
    a = np.array(rows, np.float32).reshape(-1, 2)
    return {"a": a, "b": np.array(range(len(a)) if b is None else b, np.int64)}


def test_the_signature_has_the_models_own_names_types_and_shapes(runtime):
    (signature,) = (runtime.signatures[name] for name in ["serving_default"])
    found = {
        name: (info.dtype, [dim.size for dim in info.tensor_shape.dim])
        for infos in (signature.inputs, signature.outputs)
        for name, info in infos.items()
    }
    assert found == {
        "a": (DataType.DT_FLOAT, [-1, 2]),
        "b": (DataType.DT_INT64, [-1]),
        "sum": (DataType.DT_FLOAT, [-1]),
        "twice": (DataType.DT_INT64, [-1]),
    }
    assert signature.method_name == "tensorflow/serving/predict"


@pytest.mark.parametrize("rows", [1, 3, 100])
def test_answers_have_a_row_for_each_row(runtime, rows):
    given = inputs(*np.arange(2 * rows))
    answer = predict(runtime, "", given)
    assert answer["sum"].dtype == np.float32
    assert answer["twice"].dtype == np.int64
    assert answer["twice"].dtype.char == np.dtype(np.int64).char  # serializers tell C's long long apart
    np.testing.assert_array_equal(answer["sum"], given["a"].sum(1) + given["b"])
    np.testing.assert_array_equal(answer["twice"], 2 * given["b"])


def test_only_the_outputs_asked_for_are_given(runtime):
    assert set(runtime.run("serving_default", inputs(1, 2), ["twice"])) == {"twice"}
    assert set(predict(runtime, "", inputs(1, 2), ["sum"])) == {"sum"}


def test_an_answer_stays_as_it_is_when_the_next_request_runs(runtime):
    first = predict(runtime, "", inputs(1, 2))["sum"]
    predict(runtime, "", inputs(5, 6))
    assert first.tolist() == [3.0]


def test_inputs_may_be_read_only_or_strided(runtime):
    whole = np.arange(16, dtype=np.float32).reshape(4, 4)
    read_only = np.frombuffer(whole.tobytes(), np.float32).reshape(4, 4)
    for a in (whole[:, ::2], read_only[:, :2], np.asfortranarray(whole[:, :2])):
        answer = predict(runtime, "", {"a": a, "b": np.zeros(4, np.int64)})
        np.testing.assert_array_equal(answer["sum"], a.sum(1))
    assert whole.tolist() == read_only.tolist()


def test_inputs_that_only_the_model_can_tell_are_wrong_are_the_clients_fault(runtime):
    with pytest.raises(ServingError) as raised:
        predict(runtime, "", inputs(1, 2, 3, 4, 5, 6, b=[1, 2]))
    assert raised.value.code == Code.INVALID_ARGUMENT
    assert "\n" not in raised.value.message
    assert predict(runtime, "", inputs(1, 2))["sum"].tolist() == [3.0]


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"a": np.ones((1, 3), np.float32), "b": np.ones(1, np.int64)}, r"'a' has shape \[1,3\]"),
        ({"a": np.ones((1, 2), np.float64), "b": np.ones(1, np.int64)}, "to be float but double is provided"),
        ({"a": np.ones((1, 2), np.float32)}, "b"),
    ],
)
def test_inputs_that_do_not_fit_the_signature_are_refused_before_they_are_run(runtime, given, message):
    with pytest.raises(ServingError, match=message):
        predict(runtime, "", given)


def test_many_threads_each_get_their_own_answers(runtime):
    wrong = []

    def ask(seed):
        rng = np.random.default_rng(seed)
        for _ in range(40):
            given = inputs(*rng.integers(0, 1000, 2 * int(rng.integers(1, 9))))
            answer = predict(runtime, "", given)
            if not np.array_equal(answer["sum"], given["a"].sum(1) + given["b"]):
                wrong.append(seed)

    threads = [threading.Thread(target=ask, args=(seed,)) for seed in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []


@pytest.mark.parametrize("name", with_tensorflow_marked(RUNTIMES))
def test_a_runtime_that_is_given_one_thread_answers_as_well(name, tmp_path):
    WRITERS[name](tmp_path)
    given = inputs(1, 2, 3, 4)
    loaded = open_runtime(name, threads=1)(tmp_path)
    try:
        np.testing.assert_array_equal(predict(loaded, "", given)["sum"], [3, 8])
    finally:
        loaded.close()


@pytest.mark.parametrize("name", with_tensorflow_marked(RUNTIMES))
def test_a_directory_without_a_model_is_refused_with_the_file_that_was_expected(name, tmp_path):
    expected = "model.onnx" if name == "openvino" else RUNTIMES[name].model_file  # OpenVINO reads those as well
    with pytest.raises(IntegrityError, match=expected):
        open_runtime(name)(tmp_path)


@pytest.mark.parametrize("name", BY_ITSELF)
def test_a_model_under_another_name_is_found_if_it_is_the_only_one(name, tmp_path):
    WRITERS[name](tmp_path)
    file = tmp_path / RUNTIMES[name].model_file
    for path in tmp_path.iterdir():
        path.rename(path.with_stem("mine"))
    open_runtime(name)(tmp_path).close()
    file.with_stem("other").write_bytes(b"")
    with pytest.raises(IntegrityError, match=f"2 files .*; expected {file.name}"):
        open_runtime(name)(tmp_path)


@pytest.mark.parametrize("name", BY_ITSELF)
def test_a_damaged_model_fails_its_load(name, tmp_path):
    (tmp_path / RUNTIMES[name].model_file).write_bytes(b"no model")
    with pytest.raises(Exception, match=r"."):
        open_runtime(name)(tmp_path)


@pytest.mark.parametrize(
    ("name", "module"),
    [("openvino", "openvino"), ("onnxruntime", "onnxruntime"), ("litert", "ai_edge_litert.interpreter")],
)
def test_a_missing_package_is_named_with_the_line_that_installs_it(name, module, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(UnavailableError, match=rf"pip install 'slipway\[{RUNTIMES[name].variants}\]'"):
        open_runtime(name)(tmp_path)


@pytest.mark.integration
def test_openvino_reads_a_saved_model_too(tmp_path):
    plain_models.write_saved_model(tmp_path)
    runtime = open_runtime("openvino")(tmp_path)
    answer = predict(runtime, "", inputs(1, 2, 3, 4))
    assert {name: values.tolist() for name, values in answer.items()} == {"sum": [3.0, 8.0], "twice": [0, 2]}
    runtime.close()


def test_onnx_strings_are_utf_8_in_and_out(tmp_path):
    from onnx import TensorProto, helper

    graph = helper.make_graph(
        [helper.make_node("Identity", ["text"], ["same"])],
        "text",
        [helper.make_tensor_value_info("text", TensorProto.STRING, ["n"])],
        [helper.make_tensor_value_info("same", TensorProto.STRING, ["n"])],
    )
    plain_models.save_onnx(graph, tmp_path / "model.onnx")
    runtime = open_runtime("onnxruntime")(tmp_path)
    given = np.array(["ä".encode(), b"", b"b\0"], object)
    assert predict(runtime, "", {"text": given})["same"].tolist() == given.tolist()
    with pytest.raises(ServingError, match="'text' holds a string that is not UTF-8") as raised:
        predict(runtime, "", {"text": np.array([b"\xff"], object)})
    assert raised.value.code == Code.INVALID_ARGUMENT


def test_openvino_runs_a_model_in_the_precision_that_is_written_into_it(tmp_path):
    import openvino

    write_network("openvino-fp32", tmp_path / "whole")
    model = openvino.Core().read_model(tmp_path / "whole" / "model.xml")
    model.set_rt_info("bf16", PRECISION_AT)
    (tmp_path / "half").mkdir()
    openvino.save_model(model, tmp_path / "half" / "model.xml", compress_to_fp16=False)
    pixels = np.random.default_rng(3).integers(0, 256, (8, *SIZE, 3)).astype(np.float32)

    def difference(name):
        return np.abs(
            predict(open_runtime("openvino")(tmp_path / name), "", {"input": pixels})["output"] - answers(pixels)
        )

    assert difference("whole").max() < 1e-6
    if "BF16" in openvino.Core().get_property("CPU", "OPTIMIZATION_CAPABILITIES"):
        assert 1e-5 < difference("half").max() < 0.1
    else:
        with pytest.raises(UnavailableError, match="no instructions for bfloat16"):
            difference("half")
