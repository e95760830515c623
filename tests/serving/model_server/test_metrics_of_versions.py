"""The metrics of swaps, labels, batches and the queue, by real models over a fake runtime."""

import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import numpy as np
from prometheus_client import CollectorRegistry
from prometheus_client.parser import text_string_to_metric_families

from serving.model_server.admission import Admission
from serving.model_server.batch_threads import BatchThreads
from serving.model_server.batching import batched_loader
from serving.model_server.batching_parameters import BatchingParameters
from serving.model_server.departed import Departed
from serving.model_server.errors import GoldenError
from serving.model_server.load_rules import LoadRules
from serving.model_server.metrics import Metrics
from serving.model_server.metrics_page import metrics_page
from serving.model_server.models import Models
from serving.model_server.predict import predict
from serving.model_server.request import Request
from tests.serving.model_server.fakes import FakeLoads, eventually, put_version, settings, spec


class World:
    """A model `m` with versions 1 and 2, the first of them stable; what Prometheus would read."""

    def __init__(self, base, load=None, default_label=""):
        self.metrics = Metrics()
        self.loads = FakeLoads()
        rules = LoadRules(
            load or self.loads,
            swaps=self.metrics.swaps,
            on_loaded=lambda name, path, code, took_s: self.metrics.loaded(name, str(path), code, took_s),
        )
        self.models = Models(rules, default_label)
        self.now_s = 0.0
        departed = Departed(lambda: self.now_s)
        self.page = metrics_page(self.metrics, self.models, CollectorRegistry(), departed)
        for number in (1, 2):
            put_version(base, number, number)
        self.base = base
        self.configure(stable=1)

    def configure(self, versions=(1, 2), **labels):
        self.models.configure([settings(self.base, specific=versions, labels=labels)])

    def eventually(self, expected, name, **labels):
        eventually(lambda: self.value(name, **labels) == expected)

    def value(self, name, **labels):
        wanted = {key: str(value) for key, value in labels.items()}
        samples = (
            sample for family in text_string_to_metric_families(self.page().decode()) for sample in family.samples
        )
        found = [sample.value for sample in samples if sample.name == name and wanted.items() <= sample.labels.items()]
        return sum(found) if found else None

    def predict(self, rows=1, **which):
        with Request(self.metrics, "GRPC", "Predict", "m"), self.models.acquire(spec(**which)) as lease:
            return predict(lease.runtime, "serving_default", {"x": np.zeros(rows, np.float32)})


def test_a_swap_counts_a_load_a_label_that_moves_and_an_unload(tmp_path):
    world = World(tmp_path / "m")
    world.eventually(1, "slipway_version_loads_total", model="m", version=1)
    world.eventually(1, "slipway_version_loads_total", model="m", version=2)
    world.eventually(1, "slipway_label_version", model="m", label="stable")
    world.configure(stable=2)
    world.eventually(2, "slipway_label_version", model="m", label="stable")
    assert world.value("slipway_label_moves_total", model="m", label="stable") == 2
    assert world.value("slipway_version_unloads_total", model="m", version=1) == 0
    world.configure([2], stable=2)
    world.eventually(1, "slipway_version_unloads_total", model="m", version=1)


def test_a_request_counts_by_the_label_that_its_version_bore(tmp_path):
    world = World(tmp_path / "m")
    world.eventually(1, "slipway_label_version", model="m", label="stable")
    world.eventually(1, "slipway_version_state", version=2, state="AVAILABLE")
    world.predict(version=1)
    world.predict(version=2)
    world.configure(stable=2, canary=1, other=1)
    world.eventually(1, "slipway_label_version", model="m", label="other")
    world.predict(version=1)
    count = "slipway_requests_total"
    assert world.value(count, version=1, label="stable") == 1
    assert world.value(count, version=2, label="") == 1
    assert world.value(count, version=1, label="canary") == 1, "the known one of several"


def test_golden_requests_that_are_answered_wrong_are_counted_and_other_failures_are_not(tmp_path):
    def load(path):
        if path.name == "2":
            raise GoldenError("its golden requests are not answered as when it was built")
        loaded = loads(path)
        return replace_later(loaded, lambda: (_ for _ in ()).throw(GoldenError("later")))

    loads = FakeLoads()
    world = World(tmp_path / "m", load)
    world.eventually(1, "slipway_golden_failures_total", model="m", version=2)
    world.eventually(1, "slipway_golden_failures_total", model="m", version=1)
    assert world.value("slipway_version_faults", version=1) == 1
    put_version(tmp_path / "m", 3, "broken")
    world.configure([1, 3])
    world.eventually(1, "slipway_version_state", version=3, state="END")
    assert world.value("slipway_golden_failures_total", version=3) == 0


def test_a_fault_is_shown_while_its_version_is_available(tmp_path):
    def load(path):
        return replace_later(FakeLoads()(path), lambda: (_ for _ in ()).throw(GoldenError("later")))

    world = World(tmp_path / "m", load)
    world.eventually(1, "slipway_version_faults", model="m", version=1)
    world.eventually(1, "slipway_label_version", model="m", label="stable")
    world.eventually(1, "slipway_version_state", model="m", version=2, state="AVAILABLE")
    world.configure([2], stable=2)
    world.eventually(1, "slipway_version_unloads_total", model="m", version=1)
    assert not world.value("slipway_version_faults", model="m", version=1)


def test_a_champion_that_failed_is_seen_beside_a_version_that_is_available(tmp_path):
    def load(path):
        if path.name == "1":
            raise GoldenError("its golden requests are not answered as when it was built")
        return FakeLoads()(path)

    world = World(tmp_path / "m", load, default_label="stable")
    world.eventually(1, "slipway_version_state", version=1, state="END")
    world.eventually(1, "slipway_version_state", version=2, state="AVAILABLE")
    assert world.value("slipway_model_answers", model="m") == 0
    world.configure(stable=2)
    world.eventually(1, "slipway_model_answers", model="m")


def test_a_model_without_any_version_does_not_answer(tmp_path):
    world = World(tmp_path / "m")
    (tmp_path / "empty").mkdir()
    world.models.configure([settings(tmp_path / "empty", name="empty")])
    assert world.value("slipway_model_answers", model="empty") == 0


COUNTED = (
    *("slipway_requests_total", "slipway_request_seconds_count", "slipway_runtime_seconds_count"),
    *("slipway_batch_rows_count", "slipway_version_loads_total", "slipway_version_unloads_total"),
)


def test_a_version_that_is_gone_takes_its_series_along_an_hour_later_and_no_sum_goes_down(tmp_path):
    world = World(tmp_path / "m")
    world.eventually(1, "slipway_label_version", model="m", label="stable")
    world.eventually(1, "slipway_version_state", version=2, state="AVAILABLE")
    for version in (1, 1, 2):
        world.predict(version=version)
    world.configure([2], stable=2)
    world.eventually(1, "slipway_version_unloads_total", version=1)
    assert world.value("slipway_version_state", version=1) is None
    assert world.value("slipway_version_state", version=2) == 1
    sums = [
        (":tensorflow:serving:request_count_total", {"model_name": "m", "status": "OK"}, 3),
        (":tensorflow:serving:request_latency_count", {"model_name": "m"}, 3),
        (":tensorflow:serving:runtime_latency_count", {"model_name": "m"}, 3),
        ("slipway_load_seconds_count", {"model": "m"}, 2),
    ]
    path = str(tmp_path / "m" / "1")
    for now_s, counted in ((3599, True), (3600, False), (9999, False)):
        world.now_s = now_s
        for name in COUNTED:
            assert (world.value(name, version=1) is not None) == counted, name
            assert world.value(name, version=2) is not None
        found = world.value(":tensorflow:cc:saved_model:load_attempt_count_total", model_path=path)
        assert (found == 1) == counted
        for name, labels, expected in sums:
            assert world.value(name, **labels) == expected, name
    world.configure(stable=2)
    world.eventually(1, "slipway_version_loads_total", version=1)


def test_a_version_that_comes_back_within_the_hour_goes_on_counting(tmp_path):
    world = World(tmp_path / "m")
    world.eventually(1, "slipway_label_version", model="m", label="stable")
    world.eventually(1, "slipway_version_state", version=2, state="AVAILABLE")
    world.configure([2], stable=2)
    world.eventually(1, "slipway_version_unloads_total", version=1)
    world.now_s = 3000
    world.configure(stable=2)
    world.eventually(2, "slipway_version_loads_total", version=1)
    world.now_s = 9000
    assert world.value("slipway_version_loads_total", version=1) == 2


def test_a_version_that_failed_is_shown_while_it_is_wanted(tmp_path):
    world = World(tmp_path / "m")
    put_version(tmp_path / "m", 3, "broken")
    world.configure([1, 2, 3], stable=1)
    world.eventually(1, "slipway_version_state", version=3, state="END")
    world.configure(stable=1)
    assert world.value("slipway_version_state", version=3) is None


def replace_later(loaded, work):
    return loaded._replace(later=(work,))


def test_rows_are_counted_by_version_as_the_runtime_was_given_them(tmp_path):
    world = World(tmp_path / "m")
    world.eventually(1, "slipway_version_state", version=2, state="AVAILABLE")
    world.predict(rows=3, version=2)
    assert world.value("slipway_batch_rows_sum", model="m", version=2) == 3
    assert world.value("slipway_batch_rows_count", model="m", version=2) == 1


def test_requests_that_are_batched_count_as_one_batch(tmp_path):
    parameters = replace(BatchingParameters(), max_batch_size=5, batch_timeout_micros=10_000_000)
    metrics = Metrics()
    load = batched_loader(FakeLoads(), parameters, BatchThreads(1), per_model=False, on_batch=metrics.batch)
    world = World(tmp_path / "m", load)
    world.metrics = metrics
    world.page = metrics_page(metrics, world.models, CollectorRegistry())
    world.eventually(1, "slipway_version_state", version=2, state="AVAILABLE")
    with ThreadPoolExecutor(2) as clients:
        list(clients.map(lambda rows: world.predict(rows, version=2), (2, 3)))
    assert world.value("slipway_batch_rows_sum", model="m", version=2) == 5
    assert world.value("slipway_batch_rows_count", model="m", version=2) == 1
    assert world.value(":tensorflow:serving:batching_session:processed_batch_size_sum") == 5


def test_predictions_that_wait_for_a_thread_are_seen_and_their_waits_are_measured(tmp_path):
    world = World(tmp_path / "m")
    go_on = threading.Event()
    admission = Admission(0, queue=world.metrics)
    with ThreadPoolExecutor(1) as threads:
        first = admission.submit(threads, go_on.wait)
        second, given_up = (admission.submit(threads, lambda: "done") for _ in range(2))
        world.eventually(2, "slipway_requests_waiting")
        assert given_up.cancel()
        assert world.value("slipway_requests_waiting") == 1
        go_on.set()
        assert (first.result(), second.result()) == (True, "done")
    assert world.value("slipway_requests_waiting") == 0
    assert world.value("slipway_request_wait_seconds_count") == 3
    assert world.value("slipway_request_wait_seconds_sum") > 0
