"""Metrics as Prometheus reads them: TensorFlow Serving's by their names, and Slipway's own.

Imported when metrics are enabled: prometheus-client takes its time.
"""

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from itertools import accumulate

from prometheus_client import CollectorRegistry, ProcessCollector, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.registry import Collector

from serving.model_server.departed import Departed
from serving.model_server.metrics import Histogram, Labels, Metrics, Snapshot
from serving.model_server.metrics_of_versions import version_families
from serving.model_server.models import Models
from serving.prediction_log.rules import LogCounts
from serving.wire.status_pb2 import Code

CONTENT_TYPE = b"text/plain; version=0.0.4; charset=utf-8"
# prometheus-client ends a counter's name in _total; TensorFlow Serving's have their own.
_COUNTER_HEADING = re.compile(rb"^# (HELP|TYPE) (:tensorflow:\S+)_total ", re.MULTILINE)


def metrics_page(
    metrics: Metrics, models: Models, registry: CollectorRegistry, departed: Departed | None = None
) -> Callable[[], bytes]:
    """Register the metrics, and the process's own, in `registry`; what is returned gives the page as it is then."""
    registry.register(_Collected(metrics, models, departed or Departed()))
    ProcessCollector(registry=registry)
    return lambda: _COUNTER_HEADING.sub(rb"# \1 \2 ", generate_latest(registry))


class _Collected(Collector):
    def __init__(self, metrics: Metrics, models: Models, departed: Departed) -> None:
        self._metrics = metrics
        self._models = models
        self._departed = departed

    def describe(self) -> Iterable[Metric]:
        """Nothing: registering must not collect."""
        return []

    def collect(self) -> Iterator[Metric]:
        """Every family, as of now."""
        present = {(model.name, str(each.number)) for model in self._models.served() for each in model.present()}
        self._metrics.forget(self._departed.look(self._metrics.versions(), present))
        now = self._metrics.snapshot()
        yield from _tensorflow_serving(now)
        yield from _slipway(now)
        yield from version_families(self._models, self._metrics.swaps.snapshot())
        if self._metrics.log_counts is not None:
            yield from _prediction_log(self._metrics.log_counts())


def _prediction_log(counts: LogCounts) -> Iterator[Metric]:
    name = "slipway_prediction_log"
    yield CounterMetricFamily(f"{name}_records", "Rows written to the prediction log.", value=counts.records)
    yield CounterMetricFamily(f"{name}_dropped", "Requests that it had no room for.", value=counts.dropped)
    yield GaugeMetricFamily(f"{name}_bytes", "Size of its folder.", value=counts.bytes)
    oldest = GaugeMetricFamily(f"{name}_oldest_timestamp_seconds", "Time of its oldest row in a rotated file.")
    if counts.oldest_s is not None:
        oldest.add_metric((), counts.oldest_s)
    yield oldest


def _tensorflow_serving(now: Snapshot) -> Iterator[Metric]:
    requests = [*now.requests.items(), *now.past.requests.items()]
    count = Metric(":tensorflow:serving:request_count", "The total number of requests.", "counter")
    for (model, status), found in _grouped(requests, lambda by: (by.model, Code.Name(by.code))).items():
        count.add_sample(count.name, {"model_name": model, "status": status}, sum(found.counts))
    yield count
    answered = [(by, found) for by, found in requests if by.code == Code.OK]
    yield _histogram(
        ":tensorflow:serving:request_latency",
        "Distribution of wall time (in microseconds) of the requests that were answered with OK.",
        ("model_name", "API", "entrypoint"),
        _grouped(answered, lambda by: (by.model, by.method, by.api)),
    )
    yield _histogram(
        ":tensorflow:serving:runtime_latency",
        "Distribution of wall time (in microseconds) inside the runtime.",
        ("model_name", "API", "runtime"),
        _grouped([*now.runs.items(), *now.past.runs.items()], lambda by: (by.model, by.method, by.variant)),
    )
    yield _histogram(
        ":tensorflow:serving:batching_session:processed_batch_size",
        "Tracks the batch size distribution on processing.",
        (),
        {(): now.batches} if any(now.batches.counts) else {},
    )
    attempts = Metric(":tensorflow:cc:saved_model:load_attempt_count", "The number of loads.", "counter")
    for (path, status), found in _grouped(now.loads.items(), lambda by: (by.path, _load_status(by.code))).items():
        attempts.add_sample(attempts.name, {"model_path": path, "status": status}, sum(found.counts))
    yield attempts
    latency = Metric(":tensorflow:cc:saved_model:load_latency", "Microseconds spent in loads.", "counter")
    for (path,), found in _grouped(now.loads.items(), lambda by: (by.path,)).items():
        latency.add_sample(latency.name, {"model_path": path}, found.total)
    yield latency


def _slipway(now: Snapshot) -> Iterator[Metric]:
    labels = ("model", "version", "label", "signature", "variant", "api", "method")
    count = CounterMetricFamily("slipway_requests", "Predictions answered.", labels=(*labels, "status"))
    for *by, code, found in ((*by, found) for by, found in now.requests.items()):
        count.add_metric((*by, Code.Name(code)), sum(found.counts))
    yield count
    yield _histogram(
        "slipway_request_seconds",
        "Time from a prediction's arrival to its answer.",
        labels,
        _grouped(now.requests.items(), lambda by: by[:7]),
        unit=1e-6,
    )
    yield _histogram(
        "slipway_runtime_seconds",
        "Time inside the runtime.",
        ("model", "version", "signature", "variant"),
        _grouped(now.runs.items(), lambda by: by[:4]),
        unit=1e-6,
    )
    yield GaugeMetricFamily("slipway_requests_in_flight", "Predictions being answered.", value=now.in_flight)
    yield GaugeMetricFamily("slipway_requests_waiting", "Predictions that wait for a thread.", value=now.waiting)
    yield _histogram(
        "slipway_request_wait_seconds", "Time that predictions waited for a thread.", (), {(): now.waits}, unit=1e-6
    )
    yield _histogram(
        "slipway_batch_rows",
        "Rows that the runtime was given at once.",
        ("model", "version"),
        _grouped(now.rows.items(), tuple),
    )
    yield CounterMetricFamily("slipway_requests_refused", "Predictions refused for overload.", value=now.refused)
    denied = CounterMetricFamily(
        "slipway_requests_denied", "Requests without a token that lets them in.", labels=("api", "reason")
    )
    for (api, reason), times in now.denied.items():
        denied.add_metric((api, reason), times)
    yield denied
    yield _histogram(
        "slipway_load_seconds",
        "Time that loads took, by how they ended.",
        ("model", "status"),
        _grouped([*now.loads.items(), *now.past.loads.items()], lambda by: (by.model, Code.Name(by.code))),
        unit=1e-6,
    )


def _load_status(code: Code.ValueType) -> str:
    return "success" if code == Code.OK else "fail"


def _grouped(
    histograms: Iterable[tuple[Labels, Histogram]], group: Callable[[Labels], tuple[str, ...]]
) -> dict[tuple[str, ...], Histogram]:
    """One histogram for each group, of all that fall into it."""
    grouped: dict[tuple[str, ...], Histogram] = {}
    for by, found in histograms:
        grouped.setdefault(group(by), Histogram(found.bounds)).merge(found)
    return grouped


def _histogram(
    name: str, text: str, labels: tuple[str, ...], found: Mapping[tuple[str, ...], Histogram], unit: float = 1.0
) -> Metric:
    """A family of histograms, their values multiplied by `unit`."""
    family = HistogramMetricFamily(name, text, labels=labels)
    for by, histogram in found.items():
        bounds = [*(f"{bound * unit:.6g}" for bound in histogram.bounds), "+Inf"]
        buckets = list(zip(bounds, map(float, accumulate(histogram.counts)), strict=True))
        family.add_metric(by, buckets, histogram.total * unit)
    return family
