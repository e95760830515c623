"""A real Prometheus scrapes a real model server and a real reconciler: rules load, queries answer, alerts fire."""

import json
import urllib.error
import urllib.parse
import urllib.request
from contextlib import contextmanager
from types import SimpleNamespace

import numpy as np
import pytest

from tests.monitoring import pages
from tests.monitoring.prometheus import prometheus
from tests.monitoring.promql import named, resolved
from tests.monitoring.test_dashboard import QUERIES
from tests.monitoring.test_rules import ALERTS, RECORDED
from tests.monitoring.test_rules import RULES as ALL_RULES
from tests.pipeline.lifecycle_world import World, background, wait_until
from tests.registry.conftest import World as Registered
from tests.registry.conftest import template_store  # noqa: F401 - a fixture
from tests.serving.model_server.otlp_receiver import attributes, otlp_receiver
from tests.serving.model_server.processes import free_ports, model_server
from tests.serving.model_server.servables import SIZE, publish_servable

pytestmark = pytest.mark.integration
WAIT_S = 60


@contextmanager
def serving(folder, collector):
    """A server of `digits`: version 1 is good and stable, version 2 answers its golden requests wrong."""
    base = folder / "base" / "digits"
    publish_servable(base, 1, {"onnx-fp32": 30.0})
    publish_servable(base, 2, {"onnx-fp32": 30.0}, spoiled=("onnx-fp32",))
    monitoring, models = folder / "monitoring.config", folder / "models.config"
    monitoring.write_text('prometheus_config { enable: true path: "/metrics" }')
    models.write_text(f"""model_config_list {{ config {{ name: "digits" base_path: "{base}" model_platform: "tensorflow"
        model_version_policy {{ all {{}} }} version_labels {{ key: "stable" value: 1 }} }} }}""")
    flags = [f"--model_config_file={models}", f"--monitoring_config_file={monitoring}", "--default_label=stable"]
    flags += [
        "--runtime=onnxruntime",
        f"--prediction_log={folder}/log",
        "--allow_version_labels_for_unavailable_models",
        "--log_format=json",
    ]
    with model_server(folder / "server.log", *flags, f"--trace_endpoint={collector.url}") as server:
        server.wait_ready()
        yield server


@contextmanager
def reconciling(folder, store):
    """`slipway reconcile --watch` of a registry whose champion has drifted; yields its port for Prometheus."""
    folder.mkdir()
    (folder / "mlflow.db").write_bytes(store.read_bytes())
    registered = Registered(folder)
    registered.version(tags={"slipway.dataset_digest": "da" * 32})
    registered.registry.set_alias("digits", "champion", 1)
    measures = json.dumps({"classes": {"statistic": 31.5, "p": 1e-5, "found_in": 3, "of": 4}})
    tags = {"slipway.drift_time": "2026-11-20T03:00:00+00:00", "slipway.drift_measures": measures}
    registered.registry.set_tags("digits", 1, {**tags, "slipway.drift": "found"})
    port = free_ports(1)[0]
    words = ["reconcile", "--watch", "--name", "digits", "--base", folder / "base", "--servers", "none"]
    words += ["--on-refusal", "leave"]  # the version is none that could go live
    with background(World(folder), *words, "--interval", "1", "--metrics-port", port, log=folder / "log"):
        wait_until(lambda: b"slipway_registry_up 1.0" in scraped(port), (folder / "log").read_text, WAIT_S)
        yield port


def scraped(port):
    return urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=5).read()


@pytest.fixture(scope="module")
def scene(tmp_path_factory, template_store):  # noqa: F811
    """All of it, after a few requests, once Prometheus has seen what came of them."""
    folder = tmp_path_factory.mktemp("monitored")
    with (
        otlp_receiver() as collector,
        reconciling(folder / "registry", template_store) as lifecycle,
        serving(folder, collector) as server,
        prometheus(folder, {"model-server": server.rest_port, "reconciler": lifecycle}) as asked,
    ):
        pixels = np.zeros((1, *SIZE, 3)).tolist()
        wait_until(lambda: server.states("digits").get(2) == "END", lambda: server.log, WAIT_S)
        for _ in range(5):
            assert server.predict("digits", pixels)[0] == 200
            assert server.predict("digits", pixels, signature="made_up")[0] == 400
        seen = "sum(slipway_requests_total) == 10 and sum(up) == 2"
        wait_until(lambda: asked.query(seen), lambda: str(asked.get("targets")), WAIT_S)
        yield SimpleNamespace(prometheus=asked, server=server, collector=collector)


def test_both_targets_are_up_and_all_rules_are_loaded_and_can_be_reckoned(scene):
    assert {sample["metric"]["job"]: sample["value"][1] for sample in scene.prometheus.query("up")} == {
        "model-server": "1",
        "reconciler": "1",
    }
    wait_until(lambda: all(rule["health"] == "ok" for rule in loaded(scene)), lambda: str(loaded(scene)), WAIT_S)
    assert {rule["name"] for rule in loaded(scene)} == {*ALERTS, *RECORDED}


def loaded(scene):
    return [rule for group in scene.prometheus.get("rules")["data"]["groups"] for rule in group["rules"]]


# What has nothing to show in this scene, by what is in the query alone.
EMPTY = {
    'version=""': "no request failed before a version had it",
    "slipway_requests_denied_total": "nobody is asked for a token",
    "slipway_retrain_last_timestamp_seconds": "nothing was retrained",
    "slipway_sync_last_success_timestamp_seconds": "no sidecar runs",
    'slipway_label_moves_total{model=~"$model"}[1m])) > 0': "no label moved since the first scrape",
}


def test_every_query_of_the_dashboard_is_answered_and_shows_something_where_there_is_something(scene):
    for query in QUERIES:
        expression = resolved(query)
        scene.prometheus.query(expression)
        if not any(part in query for part in EMPTY):  # a rate takes a second scrape
            wait_until(lambda asked=expression: scene.prometheus.query(asked), f"no result: {query}", WAIT_S)
    assert all(any(part in query for query in QUERIES) for part in EMPTY)


def test_every_metric_of_the_dashboard_and_the_rules_is_on_a_page_that_was_scraped(scene):
    metadata = scene.prometheus.get("metadata")["data"]
    families = {name: each[0]["type"] for name, each in metadata.items()}
    asked = {name for query in (*QUERIES, *(rule["expr"] for rule in ALL_RULES)) for name in named(query).metrics}
    asked -= {*pages.OF_PROMETHEUS, *RECORDED}
    asked -= set(pages.samples(pages.sync_families()))  # no sidecar runs here
    assert asked
    for name in asked:
        family, _, last = name.rpartition("_")
        kind = families.get(name) or families.get(family)  # in OpenMetrics a counter's family is without _total
        assert kind, f"{name} is on no page"
        assert (kind == "histogram") == (last in {"bucket", "sum", "count"})


def test_numbers_are_those_of_what_was_asked(scene):
    by = 'sum by (status, label, version) (slipway_requests_total{model="digits"})'
    found = {tuple(sorted(each["metric"].items())): each["value"][1] for each in scene.prometheus.query(by)}
    ok = (("label", "stable"), ("status", "OK"), ("version", "1"))
    assert found[ok] == "5"
    assert sum(map(float, found.values())) == 10
    assert scene.prometheus.query('slipway_label_version{label="stable"} == 1')
    assert scene.prometheus.query('slipway_drift_statistic{measure="classes"} == 31.5')


@pytest.mark.parametrize("alert", ["SlipwayGoldenFailure", "SlipwayDrift"])
def test_an_alert_fires_and_says_of_what(scene, alert):
    def firing():
        found = scene.prometheus.get("alerts")["data"]["alerts"]
        return [each for each in found if each["labels"]["alertname"] == alert and each["state"] == "firing"]

    (found,) = wait_until(firing, lambda: f"{scene.prometheus.get('alerts')}\n{scene.server.log}", WAIT_S)
    assert found["labels"]["model"] == "digits"
    assert "digits version " in found["annotations"]["summary"]
    assert "--name digits" in found["annotations"]["runbook"]
    assert "{{" not in str(found["annotations"])


def test_the_server_logs_json_and_sends_its_spans(scene):
    lines = [json.loads(line) for line in scene.server.log.splitlines()]
    assert any("digits/2 END" in line["message"] and line["level"] == "ERROR" for line in lines)
    wait_until(lambda: len(scene.collector.named("predict")) == 10, lambda: str(scene.collector.spans), WAIT_S)
    assert {attributes(span)["slipway.model"] for span in scene.collector.named("predict")} == {"digits"}
