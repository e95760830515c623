"""The command that makes what was decided in MLflow live: reconcile."""

import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from pipeline.commands import JSON, Command, config_from
from pipeline.options import config_options, option
from slipway.errors import InputError
from slipway.stopping import stopped_by_signals

if TYPE_CHECKING:
    from pipeline.config import Config
    from pipeline.metrics.exporter import MetricsAddress
    from pipeline.reconcile.scoring_server import ScoringAddress
    from pipeline.reconcile.watching import WatchOptions
    from pipeline.reconcile.webhook_bell import WebhookAddress


@click.command(cls=Command)
@option("--once", "One pass, now.  [default]", bool)
@option("--watch", "A pass each --interval, until stopped.", bool)
@option("--alive-file", "With --watch: file that is touched at each turn, for a probe to look how old it is.")
@option("--metrics-port", "With --watch: page for Prometheus, of registry and ledger, there.", int)
@option("--metrics-host", "Address to listen on for Prometheus.  [default: 127.0.0.1]")
@option("--dry-run", "Print what a pass would do, and change nothing.", bool)
@option("--webhook-port", "With --watch: listen for MLflow's webhooks there, and pass when one comes.", int)
@option("--webhook-host", "Address to listen on for webhooks.  [default: 127.0.0.1]")
@option("--webhook-url", "How MLflow's server reaches the webhook port.  [default: http://127.0.0.1:PORT]")
@option(
    "--target",
    "mlflow: with --watch, serve by `mlflow models serve`, started anew for each version. kubernetes: a cluster.",
)
@option("--context", "Context of the kubeconfig, for the target kubernetes.  [default: its current one]")
@option(
    "--ask-at", "How its versions are asked: proxy, or an address with {service}.  [default: inside a Pod the latter]"
)
@option("--host", "Address that the target mlflow listens on.  [default: 127.0.0.1]")
@option("--rest-port", "Port of the target mlflow.  [default: 8501]", int)
@option("--insecure", "Have the target mlflow listen for other machines, although nothing asks who they are.", bool)
@config_options("name", "base", "workdir", "reconcile", "kubernetes")
@JSON
def reconcile(  # noqa: PLR0913, PLR0917 - one parameter an option
    once: bool | None,
    watch: bool | None,
    alive_file: str | None,
    metrics_port: int | None,
    metrics_host: str | None,
    dry_run: bool | None,
    webhook_port: int | None,
    webhook_host: str | None,
    webhook_url: str | None,
    target: str | None,
    context: str | None,
    ask_at: str | None,
    host: str | None,
    rest_port: int | None,
    insecure: bool | None,
    config: str | None,
    json: bool | None,
    **values: Any,
) -> None:
    """Make live what MLflow's aliases and stages say, once it has answered; exit code 3 when a version is refused."""
    if sum(map(bool, (once, watch, dry_run))) > 1:
        raise InputError(
            "--once, --watch and --dry-run exclude each other; expected one of them. Leave out the others."
        )
    resolved = config_from(config, values)
    webhooks = _webhooks(webhook_port, webhook_host, webhook_url)
    listen = _Listen(host, rest_port, insecure=bool(insecure))
    if not watch and (webhooks or target == "mlflow"):
        raise InputError("--webhook-port and --target mlflow are for --watch; expected it with them. Pass --watch.")
    metrics = _metrics(metrics_port, metrics_host)
    if (alive_file or metrics) and not watch:
        flag = "--alive-file" if alive_file else "--metrics-port"
        raise InputError(f"{flag} is for --watch; expected it with it. Pass --watch.")
    with _served_by(resolved, target, listen, _Reach(context, ask_at)) as served_by:
        if watch:
            alive = Path(alive_file) if alive_file else None
            _watch(resolved, replace(served_by, webhooks=webhooks, alive=alive, metrics=metrics))
        else:
            sys.exit(_once(resolved, served_by, dry_run=bool(dry_run), json=bool(json)))


def _watch(config: "Config", options: "WatchOptions") -> None:
    from pipeline.reconcile.watching import watch_registry

    stop = threading.Event()
    with stopped_by_signals(stop, interrupt=True):
        watch_registry(config, options, stop)


def _once(config: "Config", options: "WatchOptions", *, dry_run: bool, json: bool) -> int:
    from pipeline import summary
    from pipeline.reconcile.cluster_world import cluster_world
    from pipeline.reconcile.reconcile import reconcile_once
    from pipeline.reconcile.settle import pass_alone
    from pipeline.reconcile.world import open_world

    with open_world(config) as opened:
        world = opened if options.cluster is None else cluster_world(opened, options.cluster)
        if dry_run:
            report = reconcile_once(world, dry_run=True)
        else:
            report = pass_alone(world, wait_s=world.config.reconcile.lease_s)
        click.echo(summary.as_json(report.as_dict()) if json else report.text())
    return report.exit_code


def _webhooks(port: int | None, host: str | None, url: str | None) -> "WebhookAddress | None":
    from pipeline.reconcile.webhook_bell import WebhookAddress

    if port is None:
        if host or url:
            raise InputError("--webhook-host and --webhook-url need --webhook-port; expected the port. Pass it.")
        return None
    return WebhookAddress(host or "127.0.0.1", port, url or "")


def _metrics(port: int | None, host: str | None) -> "MetricsAddress | None":
    if port is None:
        if host:
            raise InputError("--metrics-host needs --metrics-port; expected the port. Pass it.")
        return None
    from pipeline.metrics.exporter import MetricsAddress

    return MetricsAddress(host or "127.0.0.1", port)


@dataclass(frozen=True)
class _Listen:
    """What was given of where the target listens."""

    host: str | None
    port: int | None
    insecure: bool


@dataclass(frozen=True)
class _Reach:
    """What was given of how a cluster is reached."""

    context: str | None
    ask_at: str | None


@contextmanager
def _served_by(config: "Config", target: str | None, listen: _Listen, reach: _Reach) -> "Iterator[WatchOptions]":
    """What serves, as the target says."""
    from pipeline.reconcile.watching import WatchOptions

    if target != "mlflow" and (listen.host or listen.port is not None or listen.insecure):
        raise InputError("--host, --rest-port and --insecure are for --target mlflow; other servers run by themselves.")
    if target != "kubernetes" and (reach.context or reach.ask_at):
        raise InputError("--context and --ask-at are for --target kubernetes; expected it with them. Pass it.")
    if target not in {None, "mlflow", "kubernetes"}:
        raise InputError(
            f"--target {target!r}: expected mlflow or kubernetes. Servers that follow the base path by themselves go "
            "to --servers."
        )
    if target == "kubernetes":
        from pipeline.reconcile.cluster_world import cluster_door

        with cluster_door(config, reach.context, reach.ask_at) as door:
            yield WatchOptions(cluster=door)
        return
    yield WatchOptions(scoring=_scoring(config, listen) if target == "mlflow" else None)


def _scoring(config: "Config", listen: _Listen) -> "ScoringAddress":
    from pipeline.doors import check_open
    from pipeline.reconcile.scoring_server import ScoringAddress
    from pipeline.signing.trust import check_runs_signed_bytes_only

    check_runs_signed_bytes_only(config)
    host = listen.host or "127.0.0.1"
    check_open("mlflow", host, insecure=listen.insecure)
    log = Path(config.workdir).absolute() / "mlflow-serve.log"
    return ScoringAddress(config.name, host, 8501 if listen.port is None else listen.port, log)
