"""Watchers as real processes, against MLflow's real server: who watches, what a dead registry costs, what wakes it."""

import itertools
import re
import signal
import threading
import time

import pytest

from pipeline.reconcile.webhook import Deliveries
from pipeline.reconcile.webhook_registration import WebhookRegistration, webhook_name
from pipeline.reconcile.webhook_server import WebhookApp, webhook_server
from tests.browser.caller import calling
from tests.pipeline.lifecycle_world import free_ports, wait_until
from tests.pipeline.watch_world import SqliteServer, WatchWorld
from tests.pipeline.webhook_deliveries import SECRET, post, signed, tally

pytestmark = pytest.mark.timeout(900)

AWAY = [pytest.param(20, marks=pytest.mark.integration), pytest.param(300, marks=pytest.mark.soak)]
_names = itertools.count()


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    server = SqliteServer(tmp_path_factory.mktemp("mlflow"))
    server.start()
    yield server
    server.kill()


@pytest.fixture
def world(server, tmp_path):
    """A model of the test's own, without versions."""
    world = WatchWorld(tmp_path, server, f"digits-{next(_names)}")
    yield world
    world.forget()


@pytest.fixture
def live(world):
    """A server of version 1 of two, and a caller who asks it again and again."""
    world.register(seed=1)
    world.register(seed=2)
    world.promote(1)
    with world.serving() as url, calling(url, {1: 1, 2: 2}) as caller:
        yield caller
    assert caller.failures == []


def answers_from(caller, version, world, timeout_s=60):
    wait_until(lambda: caller.versions and caller.versions[-1] == version, world.logs, timeout_s, 0.05)


@pytest.mark.parametrize("away_s", AWAY)
def test_a_registry_that_is_away_costs_no_prediction_and_what_is_promoted_then_goes_live(server, live, world, away_s):
    address = re.escape(server.uri)
    with world.watched() as watcher:
        wait_until(lambda: world.deployed(1) == "live", lambda: watcher.said, 60, 0.5)
        server.kill()
        try:
            watcher.has_said(rf"tracking server {address}: expected an answer", 30)
            asked = len(live.versions)
            time.sleep(away_s)
            assert len(live.versions) - asked > 5 * away_s
        finally:
            server.start()
        world.promote(2)
        answers_from(live, 2, world)
        watcher.has_said(r"recovered after \d+ s and \d+ failed pass")
    lines = re.findall(f".*{address}.*", watcher.said)
    # What the pass under way ran into, what the next ones find, and a reminder each five minutes.
    assert len(lines) <= 2 + away_s // 300, "the same failure was said again and again"
    assert "Traceback" not in watcher.said


@pytest.mark.integration
def test_one_watches_and_another_takes_over_when_it_is_killed_or_hangs(world):
    lease_s = 4
    flags = ("--lease-s", lease_s)
    with world.watched(*flags, log="first.log") as first:
        first.has_said("watching: a pass each 1 s")
        with world.watched(*flags, log="second.log") as second:
            second.has_said(rf"waiting: lease 'watch': .* process {first.process.pid}")
            first.hang()
            hung = time.monotonic()
            try:
                second.has_said("watching: a pass each 1 s", lease_s + 10)
                assert time.monotonic() - hung < lease_s + 3
            finally:
                first.go_on()
            first.has_said(rf"waiting: lease 'watch': .* process {second.process.pid}")
            second.process.kill()
            killed = time.monotonic()
            wait_until(lambda: first.said.count("watching: a pass") == 2, lambda: first.said, 30)
            assert time.monotonic() - killed < lease_s + 3
            code, took_s = first.end()
    assert code == 0
    assert took_s < 3
    assert first.said.endswith(" stopped\n")
    assert "Traceback" not in first.said + second.said


@pytest.mark.integration
def test_a_watcher_ends_at_once_while_it_waits_for_its_next_pass(world):
    with world.watched("--interval", "600") as watcher:
        watcher.has_said("watching")
        time.sleep(5)  # until the first pass, which may be stopped as well, is over
        code, took_s = watcher.end(signal.SIGINT)
    assert (code, took_s < 2) == (0, True), watcher.said


@pytest.mark.integration
def test_mlflow_wakes_the_loop_and_a_thousand_refused_deliveries_beside_it_change_nothing(live, world):
    interval_s, port = 20, free_ports(1)[0]
    address = f"http://127.0.0.1:{port}"
    flags = ("--interval", interval_s, "--webhook-port", port)
    with world.watched(*flags, SLIPWAY_WEBHOOK_SECRET=SECRET) as watcher:
        watcher.has_said(f"MLflow delivers to {address}")
        replayed, stop = signed(), threading.Event()
        post(address, replayed)
        flood = threading.Thread(target=flooding, args=(address, replayed, stop))
        flood.start()
        try:
            time.sleep(interval_s / 10)
            promoted = time.monotonic()
            world.promote(2)
            answers_from(live, 2, world)
            took_s = time.monotonic() - promoted
        finally:
            stop.set()
            flood.join(60)
        counted = tally(address)
        assert took_s < interval_s / 2, f"{took_s:.1f} s\n{watcher.said}"
        refused = counted["refused"]
        assert min(refused["forged"], refused["replayed"], refused["out of date"]) > 300
        assert counted["accepted"] >= 3  # the trial, ours, and the alias's
        watcher.has_said(r"webhooks: \d+ accepted, \d+ refused \(\d+ forged, \d+ out of date, \d+ replayed\)")
    assert names(world.uri) == []


def flooding(address, replayed, stop):
    """Forged, replayed and late deliveries, a thousand at least, and then on until told to stop."""
    forged, late = replayed.altered(signature="v1,AAAA"), signed(now=time.time() - 3600)
    for number in itertools.count():
        if number >= 1000 and stop.is_set():
            return
        post(address, (forged, replayed, late)[number % 3])


def names(uri):
    """The webhooks that are registered."""
    from mlflow import MlflowClient

    return [webhook.name for webhook in MlflowClient(uri).list_webhooks()]


@pytest.mark.integration
def test_without_webhooks_one_line_says_why_and_nothing_else_changes(server, tracking_server, unique_name, monkeypatch):
    tracking_server.call("users/create", {"username": unique_name, "password": "correct horse battery"})
    monkeypatch.setenv("MLFLOW_TRACKING_USERNAME", unique_name)
    monkeypatch.setenv("MLFLOW_TRACKING_PASSWORD", "correct horse battery")
    for uri, url, reason in (
        ("sqlite:///mlflow.db", "http://127.0.0.1:1", "is a database"),
        (server.uri, "ftp://127.0.0.1", "Invalid webhook URL scheme"),
        (tracking_server.uri, "http://127.0.0.1:1", "not permitted"),
    ):
        said = []
        registration = WebhookRegistration(uri, webhook_name("base"), url, SECRET, said.append)
        for _ in range(3):
            registration.ensure()
        registration.withdraw()
        (line,) = said
        assert re.search(rf"^no webhooks: .*({reason}).*; polling alone$", line), line
        assert "horse" not in line


@pytest.mark.integration
def test_the_webhook_takes_the_place_of_its_own_earlier_one_and_leaves_those_of_others(server):
    said, wake = [], threading.Event()
    with webhook_server(WebhookApp(Deliveries(SECRET), wake), "127.0.0.1", 0) as address:
        mine, others = webhook_name("mine"), webhook_name("others")
        first, again, other = (
            WebhookRegistration(server.uri, name, address, SECRET, said.append) for name in (mine, mine, others)
        )
        first.ensure()
        assert wake.wait(30), "MLflow's trial delivery did not come"
        other.ensure()
        again.ensure()
        again.ensure()
        assert sorted(names(server.uri)) == sorted([mine, others])
        wait_until(lambda: len(said) == 3, lambda: str(said), 30)
        assert said[0] == f"webhook {mine}: MLflow delivers to {address}"
        again.withdraw()
        assert names(server.uri) == [others]
        other.withdraw()
    first.withdraw()  # gone long ago, which is no fault
    assert len(said) == 3
