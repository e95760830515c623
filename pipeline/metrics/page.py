"""The life cycle's numbers as Prometheus reads them, from the facts that were read last."""

import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import get_args

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from pipeline.metrics.facts import Champion, ModelFacts
from registry.ledger import Action

_ACTIONS = get_args(Action)


@dataclass
class Known:
    """What was read last, and whether that still could be read. Each field is replaced as a whole: any thread may read.

    differences: what the last pass left open, by model; empty where another reconciler makes the passes.
    """

    models: tuple[ModelFacts, ...] = ()
    registry_up: bool = False
    read_s: float | None = None  # since the epoch
    differences: Mapping[str, int] = field(default_factory=dict)


class LifecyclePage(Collector):
    """Ages go on while nothing can be read: they are reckoned when somebody asks."""

    def __init__(self, known: Known, clock: Callable[[], float] = time.time) -> None:
        self._known = known
        self._clock = clock

    def describe(self) -> Iterable[Metric]:
        """Nothing: registering must not collect."""
        return []

    def collect(self) -> Iterator[Metric]:
        """Every family, as of now."""
        known = self._known
        up = "1 if the registry and the ledger could be read the last time, else 0."
        yield GaugeMetricFamily("slipway_registry_up", up, value=float(known.registry_up))
        yield _gauge(
            "slipway_registry_read_timestamp_seconds",
            "When they were last read.",
            (),
            {} if known.read_s is None else {(): known.read_s},
        )
        champions = {(each.name, str(each.champion.version)): each.champion for each in known.models if each.champion}
        yield from self._ages(champions)
        yield from _drift(champions)
        yield _gauge(
            "slipway_reconcile_differences",
            "What the last pass left open, failed at or refused.",
            ("model",),
            {(name,): float(count) for name, count in known.differences.items()},
        )
        yield _gauge(
            "slipway_retrain_last_timestamp_seconds",
            "When retraining last ended, and how.",
            ("model", "outcome"),
            {(each.name, each.retrained[0]): each.retrained[1] for each in known.models if each.retrained},
        )
        entries = CounterMetricFamily("slipway_ledger_entries", "Entries of the ledger.", labels=("model", "action"))
        for each in known.models:
            for action in sorted({*_ACTIONS, *each.entries}):  # from 0 on: one that begins at 1 has no increase
                entries.add_metric((each.name, action), each.entries.get(action, 0))
        yield entries

    def _ages(self, champions: Mapping[tuple[str, str], Champion]) -> Iterator[Metric]:
        now = self._clock()
        yield _gauge(
            "slipway_champion_age_seconds",
            "Time since the champion was registered.",
            ("model", "version"),
            {by: now - champion.made_s for by, champion in champions.items()},
        )
        yield _gauge(
            "slipway_data_age_seconds",
            "Time since the first version from the champion's dataset was registered.",
            ("model",),
            {by[:1]: now - champion.data_s for by, champion in champions.items() if champion.data_s is not None},
        )


def _drift(champions: Mapping[tuple[str, str], Champion]) -> Iterator[Metric]:
    checked = {by: champion.drift for by, champion in champions.items() if champion.drift is not None}
    yield _gauge(
        "slipway_drift_found",
        "1 if the last check found drift, 0 if not; missing where it had too little to judge by.",
        ("model", "version"),
        {by: float(drift.found) for by, drift in checked.items() if drift.found is not None},
    )
    yield _gauge(
        "slipway_drift_statistic",
        "The last check's statistics.",
        ("model", "version", "measure"),
        {(*by, measure): value for by, drift in checked.items() for measure, value in drift.statistics.items()},
    )
    yield _gauge(
        "slipway_drift_last_timestamp_seconds",
        "When drift was last looked for.",
        ("model", "version"),
        {by: drift.time_s for by, drift in checked.items() if drift.time_s is not None},
    )


def _gauge(name: str, text: str, labels: tuple[str, ...], values: Mapping[tuple[str, ...], float]) -> Metric:
    family = GaugeMetricFamily(name, text, labels=labels)
    for by, value in values.items():
        family.add_metric(by, value)
    return family
