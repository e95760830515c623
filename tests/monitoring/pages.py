"""Every metric that the project's pages have, with its labels, from the code that writes the pages."""

from prometheus_client import CollectorRegistry

from pipeline.metrics.page import Known, LifecyclePage
from serving.model_server.load_rules import LoadRules
from serving.model_server.metrics import Metrics
from serving.model_server.metrics_page import metrics_page
from serving.model_server.models import Models
from serving.prediction_log.rules import LogCounts
from serving.sync.loop import Progress
from tests.serving.model_server.fakes import FakeLoads

OF_PROMETHEUS = {"up": set(), "ALERTS": {"alertname", "alertstate"}, "process_start_time_seconds": set()}
OF_A_TARGET = {"instance", "job"}


def server_families():
    registry = CollectorRegistry()
    metrics = Metrics()
    metrics.log_counts = lambda: LogCounts(records=1, dropped=0, bytes=1, oldest_s=1.0)
    metrics_page(metrics, Models(LoadRules(FakeLoads())), registry)
    return _own(registry)


def lifecycle_families():
    registry = CollectorRegistry()
    registry.register(LifecyclePage(Known(read_s=1.0)))
    return _own(registry)


def sync_families():
    own = Progress().registry._collector_to_names
    return [(each._name, each._type, set(each._labelnames)) for each in own]


def _own(registry):
    """(name, type, labels) of each family that is Slipway's."""
    return [
        (family.name, family.type, set(family._labelnames))
        for family in registry.collect()
        if family.name.startswith("slipway_")
    ]


def samples(families):
    """The names that can be asked for, with their labels."""
    found = {}
    for name, kind, labels in families:
        if kind == "counter":
            found[f"{name}_total"] = labels
        elif kind == "histogram":
            found |= {f"{name}_bucket": {*labels, "le"}, f"{name}_sum": labels, f"{name}_count": labels}
        else:
            found[name] = labels
    return found


def known():
    """All that rules and dashboards may name, but for what is recorded."""
    families = [*server_families(), *lifecycle_families(), *sync_families()]
    return {**samples(families), **OF_PROMETHEUS}
