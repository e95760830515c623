"""What `slipway serve` is told to show: files, flags and refusals; targets themselves are tried where they are."""

import socket

import pytest
from click.testing import CliRunner

from pipeline.cli import main
from pipeline.telemetry import METRICS_PATH, Show
from serving.model_server.monitoring import metrics_path
from serving.targets.telemetry import Telemetry
from slipway.errors import InputError
from tests.pipeline.lifecycle_world import free_ports


def test_metrics_are_a_file_that_the_server_reads_and_that_goes_with_the_block():
    with Show(metrics=True, log_format="json").telemetry() as telemetry:
        assert metrics_path(telemetry.monitoring_config) == METRICS_PATH
        assert telemetry.log_format == "json"
    assert not telemetry.monitoring_config.parent.exists()


def test_nothing_is_shown_that_was_not_asked_for():
    with Show().telemetry() as telemetry:
        assert telemetry == Telemetry()
    assert Show().watcher_arguments(reconcile=True) == ()


def test_the_watcher_has_its_port_if_it_is_free():
    port = free_ports(1)[0]
    show = Show(reconcile_metrics_port=port)
    assert show.watcher_arguments(reconcile=True) == (f"--metrics-port={port}",)
    with pytest.raises(InputError, match=rf"^--reconcile-metrics-port {port}: .*expected --reconcile with it"):
        show.watcher_arguments(reconcile=False)
    with (
        socket.create_server(("127.0.0.1", port)),
        pytest.raises(InputError, match=rf"port {port} on 127.0.0.1 is in use.*pass another --reconcile-metrics-port"),
    ):
        show.watcher_arguments(reconcile=True)
    with pytest.raises(InputError, match=r"--reconcile-metrics-port 0: expected a port from 1 to 65535"):
        Show(reconcile_metrics_port=0).watcher_arguments(reconcile=True)


@pytest.mark.parametrize(
    ("wrong", "expected"),
    [
        ({"log_format": "yaml"}, "--log-format yaml: expected one of text, json"),
        ({"trace_endpoint": "http://c", "trace_sample": 2.0}, "--trace-sample 2: expected a share from 0 to 1"),
        ({"trace_sample": 0.1}, "--trace-sample needs --trace-endpoint"),
    ],
)
def test_what_makes_no_sense_is_refused_by_its_option(wrong, expected):
    with pytest.raises(InputError, match=expected), Show(**wrong).telemetry():
        pass


def test_the_options_reach_the_step(monkeypatch):
    def serve(_config, target, _listen, runtime, *, show, reconcile):
        told.update(target=target, show=show, reconcile=reconcile, runtime=runtime)
        return 0

    told = {}
    monkeypatch.setattr("pipeline.serve.serve", serve)
    words = "serve --metrics --log-format json --trace-endpoint http://c --trace-sample 0.1 --reconcile"
    ended = CliRunner().invoke(main, [*words.split(), "--reconcile-metrics-port", "8601"])
    assert ended.exit_code == 0, ended.output
    assert told["show"] == Show(True, "json", "http://c", 0.1, 8601)
    assert told["reconcile"] is True
