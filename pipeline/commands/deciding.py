"""Commands from images to a decision: main, train, evaluate, optimize, register, gate, promote."""

import sys
from typing import Any

import click

from pipeline.commands import (
    ALIAS,
    JSON,
    REASON,
    VERSION,
    Command,
    chosen_version,
    config_from,
    config_of_run,
    leave,
    required,
    with_policy_of_run,
)
from pipeline.options import config_options, option
from slipway.errors import InputError

RUN = option("--run-id", "Run that the step before this one printed.")


@click.command("main", cls=Command)
@config_options(
    *("name", "experiment", "base", "workdir", "data", "train", "optimize", "gate", "signing", "reconcile.servers")
)
@option("--resume", "Run of a stopped training to go on with.")
def main_(config: str | None, resume: str | None, **values: Any) -> None:
    """Every step: from images to a version that is live and has answered."""
    from pipeline import lifecycle, summary

    resolved = config_from(config, values)
    outcome = lifecycle.main(resolved, resume)
    click.echo(summary.outcome(outcome, resolved))
    leave(refused=outcome.verification is None)


@click.command(cls=Command)
@config_options("experiment", "workdir", "data", "train", "optimize")
@option("--resume", "Run of a stopped training to go on with.")
@option("--distribute", "Train as one of several workers, the one that TF_CONFIG says.", bool)
@option(
    "--peer-timeout-s", "Seconds to wait for the other workers, at first and when one is lost.  [default: 600]", float
)
def train(
    config: str | None, resume: str | None, distribute: bool | None, peer_timeout_s: float | None, **values: Any
) -> None:
    """Train the network; prints the run."""
    from pipeline import lifecycle, summary
    from pipeline.distribution.step import train_distributed

    resolved = config_from(config, values)
    trained = train_distributed(resolved, resume, peer_timeout_s) if distribute else lifecycle.train(resolved, resume)
    if trained is not None:  # the chief of several workers has the run
        click.echo(f"{trained.summary()}\nnext: {summary.program()} evaluate --run-id {trained.run_id}")


@click.command(cls=Command)
@RUN
@config_options("name", "experiment", "workdir", "data")
def evaluate(run_id: str | None, config: str | None, **values: Any) -> None:
    """Evaluate a run's network on its held-out images, or on those of --data."""
    from pipeline import lifecycle, summary

    run_id = required(run_id, "--run-id", "the run that `slipway train` printed")
    resolved = config_of_run(run_id, config, values)
    click.echo(summary.evaluation(lifecycle.evaluate(resolved, run_id)))
    following = "optimize" if resolved.optimize.names else "register"
    click.echo(f"next: {summary.program()} {following} --run-id {run_id}")


@click.command(cls=Command)
@RUN
@config_options("experiment", "workdir", "data", "optimize")
def optimize(run_id: str | None, config: str | None, **values: Any) -> None:
    """Build faster variants of a run's network and measure each; exit code 3 when none may be served."""
    from pipeline import lifecycle, summary

    run_id = required(run_id, "--run-id", "the run that `slipway train` printed")
    resolved = config_of_run(run_id, config, values)
    required(resolved.optimize.variants, "--variants", "one or more, such as openvino-int8,onnx-fp32", "NAMES")
    comparison = lifecycle.optimize(resolved, run_id)
    click.echo(summary.variants(comparison))
    click.echo(f"next: {summary.program()} register --run-id {run_id}")
    leave(refused=not comparison.passed)


@click.command(cls=Command)
@RUN
@config_options("name", "experiment", "workdir", "data", "signing")
def register(run_id: str | None, config: str | None, **values: Any) -> None:
    """Seal a run's network as a servable and register it as a model version."""
    from pipeline import lifecycle, summary

    run_id = required(run_id, "--run-id", "the run that `slipway train` printed")
    version = lifecycle.register(config_of_run(run_id, config, values), run_id)
    click.echo(f"{version.name} version {version.version}")
    click.echo(f"next: {summary.program()} gate --name {version.name} --version {version.version}")


@click.command(cls=Command)
@VERSION
@ALIAS
@config_options("name", "experiment", "workdir", "gate")
@JSON
def gate(version: int | None, alias: str | None, config: str | None, json: bool | None, **values: Any) -> None:
    """Compare a version with the policy and the champion; exit code 3 when it is refused."""
    from pipeline import lifecycle, summary

    resolved = config_from(config, values)
    chosen = chosen_version(resolved, version, alias)
    report = lifecycle.gate(with_policy_of_run(resolved, chosen, config, values), chosen)
    click.echo(summary.as_json(report.as_dict()) if json else f"{report.table()}\nnext: {report.next_command}")
    leave(refused=not report.passed)


@click.command(cls=Command)
@VERSION
@ALIAS
@option("--to", "Alias to move: champion (it goes live) or challenger.  [default: champion]")
@option("--force", "Promote although the gate refuses; needs --reason.", bool)
@REASON
@config_options("name", "experiment", "base", "workdir", "gate", "reconcile.servers", "reconcile.load_timeout_s")
def promote(
    version: int | None,
    alias: str | None,
    to: str | None,
    force: bool | None,
    reason: str | None,
    config: str | None,
    **values: Any,
) -> None:
    """Make a version champion (it goes live once it has answered) or challenger; exit code 3 when it is refused."""
    from pipeline import lifecycle

    if force and not reason:
        raise InputError("--force is given without --reason; expected why the gate is overridden. Pass --reason TEXT.")
    if to not in (None, "champion", "challenger"):
        raise InputError(f"--to {to!r}: expected champion or challenger. Pass one of them.")
    resolved = config_from(config, values)
    chosen = chosen_version(resolved, version, alias)
    if to == "challenger":
        promotion = lifecycle.challenge(resolved, chosen, reason or "")
    else:
        verdict = lifecycle.gate(with_policy_of_run(resolved, chosen, config, values), chosen)
        promotion = lifecycle.promote(resolved, chosen, verdict, reason or "", force=bool(force))
    click.echo(promotion.text())
    sys.exit(promotion.exit_code)
