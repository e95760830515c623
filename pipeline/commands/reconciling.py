"""The command that makes what was decided in MLflow live: reconcile."""

import sys
import threading
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from pipeline.commands import JSON, Command, config_from
from pipeline.options import config_options, option
from slipway.errors import InputError
from slipway.stopping import stopped_by_signals

if TYPE_CHECKING:
    from pipeline.config import Config
    from pipeline.reconcile.scoring_server import ScoringAddress
    from pipeline.reconcile.webhook_bell import WebhookAddress


@click.command(cls=Command)
@option("--once", "One pass, now.  [default]", bool)
@option("--watch", "A pass each --interval, until stopped.", bool)
@option("--alive-file", "With --watch: file that is touched at each turn, for a probe to look how old it is.")
@option("--dry-run", "Print what a pass would do, and change nothing.", bool)
@option("--webhook-port", "With --watch: listen for MLflow's webhooks there, and pass when one comes.", int)
@option("--webhook-host", "Address to listen on for webhooks.  [default: 127.0.0.1]")
@option("--webhook-url", "How MLflow's server reaches the webhook port.  [default: http://127.0.0.1:PORT]")
@option("--target", "mlflow: with --watch, serve by `mlflow models serve`, started anew for each version.")
@option("--host", "Address that the target mlflow listens on.  [default: 127.0.0.1]")
@option("--rest-port", "Port of the target mlflow.  [default: 8501]", int)
@option("--insecure", "Have the target mlflow listen for other machines, although nothing asks who they are.", bool)
@config_options("name", "base", "workdir", "reconcile")
@JSON
def reconcile(  # noqa: PLR0913, PLR0917 - one parameter an option
    once: bool | None,
    watch: bool | None,
    alive_file: str | None,
    dry_run: bool | None,
    webhook_port: int | None,
    webhook_host: str | None,
    webhook_url: str | None,
    target: str | None,
    host: str | None,
    rest_port: int | None,
    insecure: bool | None,
    config: str | None,
    json: bool | None,
    **values: Any,
) -> None:
    """Make live what MLflow's aliases and stages say, once it has answered; exit code 3 when a version is refused."""
    from pipeline import summary
    from pipeline.reconcile.reconcile import reconcile_once
    from pipeline.reconcile.settle import pass_alone
    from pipeline.reconcile.world import open_world

    if sum(map(bool, (once, watch, dry_run))) > 1:
        raise InputError(
            "--once, --watch and --dry-run exclude each other; expected one of them. Leave out the others."
        )
    resolved = config_from(config, values)
    webhooks = _webhooks(webhook_port, webhook_host, webhook_url)
    scoring = _scoring(resolved, target, _Listen(host, rest_port, insecure=bool(insecure)))
    if not watch and (webhooks or scoring):
        raise InputError("--webhook-port and --target are for --watch; expected it with them. Pass --watch.")
    if alive_file and not watch:
        raise InputError("--alive-file is for --watch; expected it with it. Pass --watch.")
    if watch:
        from pipeline.reconcile.watching import WatchOptions, watch_registry

        options = WatchOptions(webhooks, scoring, alive=Path(alive_file) if alive_file else None)
        stop = threading.Event()
        with stopped_by_signals(stop, interrupt=True):
            watch_registry(resolved, options, stop)
        return
    with open_world(resolved) as world:
        if dry_run:
            report = reconcile_once(world, dry_run=True)
        else:
            report = pass_alone(world, wait_s=world.config.reconcile.lease_s)
        click.echo(summary.as_json(report.as_dict()) if json else report.text())
    sys.exit(report.exit_code)


def _webhooks(port: int | None, host: str | None, url: str | None) -> "WebhookAddress | None":
    from pipeline.reconcile.webhook_bell import WebhookAddress

    if port is None:
        if host or url:
            raise InputError("--webhook-host and --webhook-url need --webhook-port; expected the port. Pass it.")
        return None
    return WebhookAddress(host or "127.0.0.1", port, url or "")


@dataclass(frozen=True)
class _Listen:
    """What was given of where the target listens."""

    host: str | None
    port: int | None
    insecure: bool


def _scoring(config: "Config", target: str | None, listen: _Listen) -> "ScoringAddress | None":
    from pipeline.doors import check_open
    from pipeline.reconcile.scoring_server import ScoringAddress
    from pipeline.signing.trust import check_runs_signed_bytes_only

    if target is None:
        if listen.host or listen.port is not None or listen.insecure:
            raise InputError(
                "--host, --rest-port and --insecure are for --target mlflow; other servers run by themselves."
            )
        return None
    if target != "mlflow":
        raise InputError(
            f"--target {target!r}: expected mlflow. Servers that follow the base path by themselves go to --servers."
        )
    check_runs_signed_bytes_only(config)
    host = listen.host or "127.0.0.1"
    check_open(target, host, insecure=listen.insecure)
    log = Path(config.workdir).absolute() / "mlflow-serve.log"
    return ScoringAddress(config.name, host, 8501 if listen.port is None else listen.port, log)
