"""The metrics of versions: their states and labels, what became of them, and what was observed of each."""

from collections import Counter
from collections.abc import Iterator

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric

from serving.model_config import STABLE
from serving.model_server.models import Models
from serving.model_server.observer import observations
from serving.model_server.swaps import SwapCounts
from serving.model_server.version import State
from serving.traffic import CANARY

_OBSERVED = {
    "requests": "Predictions that a version ran, of those that named neither version nor label, and copies.",
    "errors": "Those that it failed.",
    "labelled": "Images of theirs whose true label came.",
    "correct": "Those whose first class was the true label.",
}
_OF_FEEDBACK = {"labelled", "correct"}  # no counters: feedback that is corrected takes some back
_SHADOW = {
    "compared": "Images of copies whose first class was compared with the answer's.",
    "disagreed": "Those where they differ.",
    "dropped": "Copies that were not run for want of time.",
}
_STATES = ("START", "LOADING", "AVAILABLE", "UNLOADING", "END")


def version_families(models: Models, swaps: SwapCounts) -> Iterator[Metric]:
    """Every family that is about versions, as of now."""
    yield from _states(models)
    yield from _swapped(models, swaps)
    yield from _observed(models)


def _states(models: Models) -> Iterator[Metric]:
    family = GaugeMetricFamily(
        "slipway_version_state", "1 for the state that a version is in.", labels=("model", "version", "state")
    )
    faults = GaugeMetricFamily(
        "slipway_version_faults", "Faults found in a version since it is AVAILABLE.", labels=("model", "version")
    )
    borne = GaugeMetricFamily(
        "slipway_label_version", "The number of the version that bears the label.", labels=("model", "label")
    )
    answers = GaugeMetricFamily(
        "slipway_model_answers", "1 if a request that names no version and no label finds one.", labels=("model",)
    )
    for model in models.served():
        answers.add_metric((model.name,), float(model.answers()))
        for version in model.present():
            for state in _STATES:
                current = State.Name(version.state) == state
                family.add_metric((model.name, str(version.number), state), float(current))
            found = len(version.faults) if version.is_available() else 0
            faults.add_metric((model.name, str(version.number)), found)
        for label, number in sorted(model.labels.items()):
            borne.add_metric((model.name, label), number)
    yield answers
    yield family
    yield faults
    yield borne


def _swapped(models: Models, swaps: SwapCounts) -> Iterator[Metric]:
    """Each version and label that there is begins at 0: a counter that begins at 1 has no increase."""
    present = [(model.name, str(version.number)) for model in models.served() for version in model.present()]
    borne = [(model.name, label) for model in models.served() for label in model.labels]
    of_version, of_label = ("model", "version"), ("model", "label")
    yield _counted("slipway_version_loads", "Times that a version became AVAILABLE.", of_version, swaps.loads, present)
    yield _counted("slipway_version_unloads", "Times that it was unloaded.", of_version, swaps.unloads, present)
    yield _counted("slipway_label_moves", "Times that a label went to a version.", of_label, swaps.label_moves, borne)
    yield _counted(
        "slipway_golden_failures",
        "Times that a version was refused, or found at fault, by its golden requests.",
        of_version,
        swaps.golden_failures,
        present,
    )


def _counted(
    name: str,
    text: str,
    labels: tuple[str, str],
    counts: Counter[tuple[str, str]],
    present: list[tuple[str, str]],
) -> Metric:
    family = CounterMetricFamily(name, text, labels=labels)
    for by in sorted({*counts, *present}):
        family.add_metric(by, counts[by])
    return family


def _observed(models: Models) -> Iterator[Metric]:
    """What the split gave each AVAILABLE version, and what came of it."""
    share = GaugeMetricFamily(
        "slipway_traffic_share", "Share of a model's traffic, 0 to 1, by the traffic config.", labels=("model", "label")
    )
    by = ("model", "version", "label")
    observed: dict[str, CounterMetricFamily | GaugeMetricFamily] = {
        name: (GaugeMetricFamily if name in _OF_FEEDBACK else CounterMetricFamily)(
            f"slipway_observed_{name}", text, labels=(*by, "of")
        )
        for name, text in _OBSERVED.items()
    }
    shadow = {name: CounterMetricFamily(f"slipway_shadow_{name}", _SHADOW[name], labels=by) for name in _SHADOW}
    for model in models.served():
        traffic = models.traffic(model.name)
        for label, percent in ((STABLE, traffic.stable), (CANARY, traffic.canary), ("shadow", traffic.shadow)):
            share.add_metric((model.name, label), percent / 100)
        for seen in observations(model).versions:
            which = (model.name, str(seen.version), seen.label)
            for name, family in observed.items():
                family.add_metric((*which, "answers"), getattr(seen, name))
                family.add_metric((*which, "copies"), getattr(seen.shadow, name))
            for name, family in shadow.items():
                family.add_metric(which, getattr(seen.shadow, name))
    yield share
    yield from observed.values()
    yield from shadow.values()
