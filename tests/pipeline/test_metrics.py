"""What Prometheus is told of the life cycle, read from a real registry and a real ledger."""

import json
import time
import urllib.request
from contextlib import contextmanager
from typing import get_args

import pytest
from prometheus_client.parser import text_string_to_metric_families

from pipeline.metrics.exporter import Exporter, MetricsAddress
from pipeline.metrics.facts import Reader, drift_of
from pipeline.metrics.page import Known, LifecyclePage
from pipeline.reconcile.report import ModelReport, Report
from registry.ledger import Action, Ledger, NewEntry
from slipway.errors import InputError, UnavailableError
from tests.registry.conftest import template_store, world  # noqa: F401 - fixtures

DIGEST = "da" * 32
ANY = MetricsAddress("127.0.0.1", 0)


@pytest.fixture
def life(world):  # noqa: F811
    """A served model `digits` with a champion, version 2, from the dataset of version 1; a ledger of its own."""
    for _ in range(2):
        world.version(tags={"slipway.dataset_digest": DIGEST})
    world.registry.tag_model("digits", {"slipway.serving": "true"})
    world.registry.set_alias("digits", "champion", 2)
    world.ledger = Ledger(f"sqlite:///{world.folder}/slipway.db")
    world.reader = Reader(world.registry, world.ledger)
    return world


def values(families, name):
    """The samples of that name, by their labels' values."""
    return {
        tuple(sample.labels.values()): sample.value
        for family in families
        for sample in family.samples
        if sample.name == name
    }


def page(read, clock=time.time):
    return list(LifecyclePage(Known(tuple(read), registry_up=True, read_s=1.0), clock).collect())


def test_the_champions_age_and_its_datas_are_since_they_were_first_registered(life):
    (facts,) = life.reader.read()
    first, second = (each.created_ms / 1000 for each in life.registry.versions("digits"))
    assert (facts.champion.version, facts.champion.made_s, facts.champion.data_s) == (2, second, first)
    families = page([facts], lambda: second + 100)
    assert values(families, "slipway_champion_age_seconds") == {("digits", "2"): 100}
    assert values(families, "slipway_data_age_seconds") == {("digits",): pytest.approx(100 + second - first)}


def test_drift_is_read_from_the_champions_tags(life):
    measures = {"classes": {"statistic": 31.5, "p": 1e-5, "found_in": 3, "of": 4}, "brightness": {"statistic": 0.1}}
    tags = {"slipway.drift": "found", "slipway.drift_time": "2026-11-20T03:00:00+00:00"}
    life.registry.set_tags("digits", 2, {**tags, "slipway.drift_measures": json.dumps(measures)})
    life.registry.set_tags("digits", 1, {"slipway.drift": "none"})
    families = page(life.reader.read())
    assert values(families, "slipway_drift_found") == {("digits", "2"): 1}
    assert values(families, "slipway_drift_statistic") == {
        ("digits", "2", "classes"): 31.5,
        ("digits", "2", "brightness"): 0.1,
    }
    assert values(families, "slipway_drift_last_timestamp_seconds") == {("digits", "2"): 1795143600}


def test_a_check_that_had_too_little_to_judge_by_is_neither_found_nor_not(life):
    life.registry.set_tags("digits", 2, {"slipway.drift": "unknown", "slipway.drift_measures": "{"})
    assert values(page(life.reader.read()), "slipway_drift_found") == {}


@pytest.mark.parametrize("text", ["", "[]", "{", '{"a": 1}', '{"a": {"statistic": "x"}}', '{"a": {"statistic": NaN}}'])
def test_tags_that_somebody_has_edited_tell_nothing_and_break_nothing(text):
    drift = drift_of({"slipway.drift": "none", "slipway.drift_time": "yesterday", "slipway.drift_measures": text})
    assert (drift.found, drift.time_s, drift.statistics) == (False, None, {})


def test_the_last_retraining_and_the_ledgers_entries_are_told(life):
    life.registry.tag_model("digits", {"slipway.retrain": "refused", "slipway.retrain_time": "2026-11-20T03:00:00Z"})
    for action in ("promote", "promote", "rollback"):
        life.ledger.append(NewEntry("digits", action, "champion", 1, 2, "ada", "command", "why"))
    life.ledger.append(NewEntry("other", "promote", "champion", 1, 2, "ada", "command", "why"))
    families = page(life.reader.read())
    assert values(families, "slipway_retrain_last_timestamp_seconds") == {("digits", "refused"): 1795143600}
    entries = values(families, "slipway_ledger_entries_total")
    assert {by: count for by, count in entries.items() if count} == {
        ("digits", "promote"): 2,
        ("digits", "rollback"): 1,
    }
    assert {action for _, action in entries} == set(get_args(Action)), (
        "each from 0 on, so that its first is an increase"
    )


def test_while_the_registry_is_away_the_last_values_stay_and_it_is_said_once(life):
    said = []
    answers = [life.reader.read]

    def read():
        return answers[-1]()

    def away():
        raise UnavailableError("MLflow does not answer.\nStart it.")

    exporter = Exporter(read, said.append)
    exporter.look()
    answers.append(away)
    exporter.look()
    exporter.look()
    families = list(LifecyclePage(exporter.known).collect())
    assert values(families, "slipway_registry_up") == {(): 0}
    assert list(values(families, "slipway_champion_age_seconds")) == [("digits", "2")]
    assert said == ["metrics: MLflow does not answer. Start it."]
    answers.append(life.reader.read)
    exporter.look()
    assert values(LifecyclePage(exporter.known).collect(), "slipway_registry_up") == {(): 1}


def test_a_failure_that_nobody_foresaw_ends_nothing():
    exporter = Exporter(lambda: 1 // 0, (said := []).append)
    exporter.look()
    assert said == ["metrics: ZeroDivisionError: integer division or modulo by zero"]


def test_what_a_pass_left_open_is_told_until_another_one_makes_the_passes():
    exporter = Exporter(tuple, str)
    exporter.passed(Report((ModelReport("a"), ModelReport("b", left=["x"], failed="y", refused={3: "z"}))))
    families = list(LifecyclePage(exporter.known).collect())
    assert values(families, "slipway_reconcile_differences") == {("a",): 0, ("b",): 3}
    exporter.passed(None)
    assert values(LifecyclePage(exporter.known).collect(), "slipway_reconcile_differences") == {}


@contextmanager
def scraped(exporter, address=ANY):
    with exporter.answering(address, 0.05) as url:
        yield lambda: list(text_string_to_metric_families(urllib.request.urlopen(url, timeout=10).read().decode()))


def test_the_page_is_answered_on_loopback_and_read_again_and_again():
    reads = []
    exporter = Exporter(lambda: tuple(reads.append(1) or ()), str)
    with scraped(exporter) as get:
        end = time.monotonic() + 10
        while len(reads) < 3:
            assert time.monotonic() < end
            time.sleep(0.01)
        families = get()
    assert values(families, "slipway_registry_up") == {(): 1}
    assert values(families, "process_resident_memory_bytes")[()] > 1e6


def test_a_port_that_is_taken_is_an_error_that_names_the_flag():
    exporter = Exporter(tuple, str)
    with exporter.answering(ANY, 10) as url:
        port = int(url.rpartition(":")[2].partition("/")[0])
        with (
            pytest.raises(InputError, match=f"--metrics-port {port}: cannot listen on 127.0.0.1:{port}"),
            exporter.answering(MetricsAddress("127.0.0.1", port), 10),
        ):
            pass
