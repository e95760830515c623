"""Requests that come together run together, and each gets its own rows; the runtime inside is a fake."""

import threading
import time
from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from serving.model_server.batch_threads import BatchThreads
from serving.model_server.batching import BatchingRuntime, batched_loader
from serving.model_server.batching_parameters import BatchingParameters
from serving.model_server.errors import ServingError, invalid_argument
from serving.model_server.metrics import Metrics
from serving.model_server.predict import predict
from serving.model_server.request import Request
from serving.model_server.runtimes import Loaded, Variant
from serving.wire.status_pb2 import Code
from slipway.errors import InputError
from tests.serving.model_server.fakes import FakeRuntime


class Recorded(FakeRuntime):
    """y = x + 1; keeps the inputs of each run, and can be held back."""

    def __init__(self):
        super().__init__(1.0)
        self.runs = []
        self.gate = threading.Event()
        self.gate.set()

    def run(self, name, inputs, outputs):
        assert self.gate.wait(20)
        self.runs.append({key: value.copy() for key, value in inputs.items()})
        if any((value == 13).any() for value in inputs.values()):
            raise invalid_argument("13 is refused")
        return super().run(name, inputs, outputs)

    @property
    def sizes(self):
        return [len(next(iter(run.values()))) for run in self.runs]


class Batched:
    def __init__(self, threads=1, **parameters):
        self.inner = Recorded()
        parameters.setdefault("max_execution_batch_size", parameters.get("max_batch_size", 1000))
        rules = BatchingParameters(num_batch_threads=threads, **parameters)
        self.rows = []
        self.runtime = BatchingRuntime(self.inner, rules, BatchThreads(threads), self.told)
        self.pool = ThreadPoolExecutor(64)

    def told(self, _version, rows):
        self.rows.append(rows)

    def ask(self, *values, signature="serving_default", name="x"):
        return self.pool.submit(self.runtime.run, signature, {name: np.array(values, np.float32)}, ["y"])

    def ask_in_turn(self, requests):
        """Futures of requests that reach the queue in this order while the only thread is busy with a first one."""
        self.inner.gate.clear()
        first = self.ask(0.0)
        time.sleep(0.05)
        futures = []
        for values in requests:
            futures.append(self.ask(*values))
            time.sleep(0.01)
        self.inner.gate.set()
        assert answer(first) == [1.0]
        return futures


def answer(future):
    return future.result(20)["y"].tolist()


def test_requests_that_wait_run_as_one_batch_and_each_gets_its_rows():
    batched = Batched(max_batch_size=8)
    futures = batched.ask_in_turn([[1.0], [2.0, 3.0], [4.0]])
    assert [answer(future) for future in futures] == [[2.0], [3.0, 4.0], [5.0]]
    assert batched.inner.sizes == [1, 4]
    assert batched.rows == [1, 4]


def test_a_request_that_has_no_room_left_goes_to_the_next_batch():
    batched = Batched(max_batch_size=4)
    futures = batched.ask_in_turn([[1.0, 2.0, 3.0], [4.0, 5.0], [6.0]])
    assert [answer(future) for future in futures] == [[2.0, 3.0, 4.0], [5.0, 6.0], [7.0]]
    assert batched.inner.sizes == [1, 3, 3]


def test_a_lonely_request_waits_for_the_timeout_and_no_longer():
    batched = Batched(max_batch_size=8, batch_timeout_micros=200_000)
    start = time.monotonic()
    assert answer(batched.ask(1.0)) == [2.0]
    assert 0.19 <= time.monotonic() - start < 2.0


def test_a_full_batch_does_not_wait_for_the_timeout():
    batched = Batched(max_batch_size=2, batch_timeout_micros=15_000_000)
    assert answer(batched.ask(1.0, 2.0)) == [2.0, 3.0]


def test_a_batch_is_padded_to_an_allowed_size_with_a_row_of_its_own():
    batched = Batched(max_batch_size=8, allowed_batch_sizes=(4, 8))
    assert answer(batched.ask(5.0, 6.0)) == [6.0, 7.0]
    assert batched.inner.runs[0]["x"].tolist() == [5.0, 6.0, 5.0, 5.0]


def test_different_signatures_and_outputs_never_meet():
    batched = Batched()
    batched.inner.gate.clear()
    inputs = {"a": np.ones((1, 2), np.float32), "b": np.ones(1, np.int64)}
    futures = [
        batched.ask(1.0),
        batched.ask(2.0, signature="refuse_not"),
        batched.pool.submit(batched.runtime.run, "both", inputs, ["sum"]),
        batched.pool.submit(batched.runtime.run, "both", inputs, ["sum", "twice"]),
    ]
    time.sleep(0.1)
    batched.inner.gate.set()
    assert [answer(future) for future in futures[:2]] == [[2.0], [3.0]]
    assert [sorted(future.result(20)) for future in futures[2:]] == [["sum"], ["sum", "twice"]]
    assert batched.inner.sizes == [1, 1, 1, 1]


def test_rows_of_different_shapes_never_meet():
    batched = Batched()
    futures = batched.ask_in_turn([[[1.0]], [[1.0, 2.0]], [[3.0]]])
    assert [answer(future) for future in futures] == [[[2.0]], [[2.0, 3.0]], [[4.0]]]
    assert batched.inner.sizes == [1, 2, 1]


def test_shorter_rows_are_padded_with_their_first_element_if_asked_to():
    batched = Batched(pad_variable_length_inputs=True)
    for future in batched.ask_in_turn([[[1.0]], [[2.0, 3.0]]]):
        future.result(20)
    assert batched.inner.runs[1]["x"].tolist() == [[1.0, 1.0], [2.0, 3.0]]


def test_who_sends_what_the_graph_refuses_fails_alone():
    batched = Batched()
    good, bad, other = batched.ask_in_turn([[1.0], [13.0], [3.0]])
    assert answer(good) == [2.0]
    assert answer(other) == [4.0]
    with pytest.raises(ServingError, match="13 is refused"):
        bad.result(20)


def test_a_queue_that_is_full_refuses_as_unavailable():
    batched = Batched(max_batch_size=2, max_enqueued_batches=2)
    futures = batched.ask_in_turn([[1.0, 1.0], [2.0, 2.0], [3.0, 3.0]])
    assert [answer(future) for future in futures[:2]] == [[2.0, 2.0], [3.0, 3.0]]
    with pytest.raises(ServingError, match="queue to which this task was submitted is full") as refusal:
        futures[2].result(20)
    assert refusal.value.code == Code.UNAVAILABLE


def test_a_prediction_that_finds_the_queue_full_counts_as_refused_and_as_no_failure_of_the_version():
    errors = []
    trace = SimpleNamespace(end=lambda _parts, _attributes, error: errors.append(error))
    metrics = Metrics(tracing=SimpleNamespace(begin=lambda *_: trace))
    batched = Batched(max_batch_size=1, max_enqueued_batches=1)
    prediction = Request(metrics, "REST", "predict", "m")

    def ask():
        with prediction:
            predict(batched.runtime, "", {"x": np.array([1.0], np.float32)})

    batched.inner.gate.clear()
    futures = [batched.ask(0.0)]
    time.sleep(0.05)
    futures.append(batched.ask(0.0))  # the whole queue, while the only thread is busy with the first
    time.sleep(0.05)
    with pytest.raises(ServingError, match="is full"), ThreadPoolExecutor(1) as pool:
        pool.submit(ask).result(20)
    batched.inner.gate.set()
    assert [answer(future) for future in futures] == [[1.0], [1.0]]
    assert errors == [""]
    found = metrics.snapshot()
    assert (found.refused, found.runs, prediction.run_failed) == (1, {}, False)
    assert [(by.signature, by.code) for by in found.requests] == [("serving_default", Code.UNAVAILABLE)]


def test_a_request_larger_than_a_batch_is_refused():
    with pytest.raises(ServingError, match="Task size 3 is larger than maximum input batch size 2") as refusal:
        answer(Batched(max_batch_size=2).ask(1.0, 2.0, 3.0))
    assert refusal.value.code == Code.INVALID_ARGUMENT


def test_a_large_request_is_split_over_batches_if_asked_to_and_fills_what_is_open():
    batched = Batched(max_batch_size=8, enable_large_batch_splitting=True, max_execution_batch_size=3)
    futures = batched.ask_in_turn([[1.0, 2.0], [3.0, 4.0, 5.0, 6.0, 7.0]])
    assert [answer(future) for future in futures] == [[2.0, 3.0], [4.0, 5.0, 6.0, 7.0, 8.0]]
    assert batched.inner.sizes == [1, 3, 3, 1]


@pytest.mark.parametrize(
    ("inputs", "message"),
    [
        ({}, "must have at least one input tensor"),
        ({"x": np.float32(1)}, "must have at least one dimension"),
        ({"a": np.ones((2, 2), np.float32), "b": np.ones(3, np.int64)}, "must have equal 0th-dimension size"),
    ],
)
def test_inputs_without_a_common_first_dimension_are_refused(inputs, message):
    arrays = {name: np.asarray(value) for name, value in inputs.items()}
    with pytest.raises(ServingError, match=message) as refusal:
        Batched().runtime.run("both", arrays, ["sum"])
    assert refusal.value.code == Code.INVALID_ARGUMENT


def test_an_output_without_the_rows_of_the_inputs_is_refused():
    batched = Batched()
    with pytest.raises(ServingError, match="Batched output tensor has 0 dimensions") as refusal:
        batched.runtime.run("scalar", {"x": np.ones(2, np.float32)}, ["total"])
    assert refusal.value.code == Code.FAILED_PRECONDITION


def test_strings_are_batched_too_and_zero_rows_come_back_as_zero_rows():
    batched = Batched()
    texts = np.array([b"a", b"b"], object)
    assert predict(batched.runtime, "text", {"text": texts}, ["loud"])["loud"].tolist() == [b"A", b"B"]
    assert answer(batched.ask()) == []


@given(
    st.lists(st.lists(st.floats(-8, 8, width=32), max_size=5), min_size=1, max_size=30),
    st.integers(1, 3),
    st.booleans(),
)
def test_whatever_comes_together_each_gets_what_it_would_get_alone(requests, threads, split):
    batched = Batched(threads, max_batch_size=5, max_enqueued_batches=100, enable_large_batch_splitting=split)
    futures = [batched.ask(*values) for values in requests]
    for values, future in zip(requests, futures, strict=True):
        assert answer(future) == (np.array(values, np.float32) + np.float32(1)).tolist()
    assert max(batched.inner.sizes) <= 5


def test_a_version_brings_its_own_parameters_or_is_not_batched(tmp_path):
    inner = Recorded()
    load = lambda _path: Loaded(inner, Variant("fake"))  # noqa: E731
    loader = batched_loader(load, BatchingParameters(), BatchThreads(1), per_model=True)
    assert loader(tmp_path).runtime is inner
    (tmp_path / "batching_params.pbtxt").write_text("max_batch_size { value: 2 }")
    with pytest.raises(ServingError, match="larger than maximum input batch size 2"):
        loader(tmp_path).runtime.run("serving_default", {"x": np.ones(3, np.float32)}, ["y"])
    (tmp_path / "batching_params.pbtxt").write_text("max_batch_size { value: 0 }")
    with pytest.raises(InputError, match=r"batching_params\.pbtxt"):
        loader(tmp_path)


def test_closing_closes_the_runtime_inside():
    batched = Batched()
    batched.runtime.close()
    assert batched.inner.closed
