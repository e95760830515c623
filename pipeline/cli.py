"""The command line: parse, call one function of the lifecycle, print. Errors end here, on one line."""

import contextlib
import dataclasses
import os
import signal
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from pipeline.config import Config, load_config, with_overrides
from pipeline.options import config_options, is_switch, option, overrides
from slipway.errors import InputError, SlipwayError

if TYPE_CHECKING:
    from registry.client import ModelVersion

REFUSED = 3
_VERSION = option("--version", "Model version's number.", int)
_ALIAS = option("--alias", "Alias of the model version, such as champion.")
_RUN = option("--run-id", "Run that the step before this one printed.")
_JSON = option("--json", "Print one JSON document.", bool)
_REASON = option("--reason", "Why, for the ledger.")


class _Command(click.Command):
    """Takes `--json` and `--json true` alike, and never a file that follows as the switch's value."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        switches = {flag for parameter in self.params if is_switch(parameter) for flag in parameter.opts}
        given: list[str] = []
        for place, argument in enumerate(args):
            given.append(argument)
            following = args[place + 1 : place + 2]
            if argument in switches and following and following[0].lower() not in ("", "true", "false"):
                given.append("true")
        return super().parse_args(ctx, given)


class _Group(click.Group):
    """Prints a foreseen error as one line, and leaves with its exit code."""

    command_class = _Command

    def invoke(self, ctx: click.Context) -> Any:
        try:
            with _quiet_libraries(), _termination_as_interrupt():
                return super().invoke(ctx)
        except SlipwayError as error:
            click.echo(f"Error: {error}", err=True)
            ctx.exit(error.exit_code)
        except KeyboardInterrupt:
            click.echo("Error: stopped. Start it again: finished steps are kept.", err=True)
            ctx.exit(130)

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002 (click gives it)
        return list(self.commands)


@click.group(
    cls=_Group,
    context_settings={"auto_envvar_prefix": "SLIPWAY", "help_option_names": ["-h", "--help"], "max_content_width": 110},
)
def main() -> None:
    """The lifecycle of an image classifier on MLflow: trained, gated, published, served, verified and reversible.

    Exit codes: 0 done, 1 failed, 2 wrong usage or input, 3 refused by the gate.
    """


@main.command("main")
@config_options("name", "experiment", "base", "workdir", "data", "train", "gate")
@option("--resume", "Run of a stopped training to go on with.")
def main_(config: str | None, resume: str | None, **values: Any) -> None:
    """Every step: from images to a version that is live and has answered."""
    from pipeline import lifecycle, summary

    outcome = lifecycle.main(_config(config, values), resume)
    click.echo(summary.outcome(outcome))
    _leave(refused=outcome.verification is None)


@main.command()
@config_options("experiment", "workdir", "data", "train")
@option("--resume", "Run of a stopped training to go on with.")
def train(config: str | None, resume: str | None, **values: Any) -> None:
    """Train the network; prints the run."""
    from pipeline import lifecycle

    trained = lifecycle.train(_config(config, values), resume)
    click.echo(f"{trained.summary()}\nnext: slipway evaluate --run-id {trained.run_id}")


@main.command()
@_RUN
@config_options("name", "experiment", "workdir", "data")
def evaluate(run_id: str | None, config: str | None, **values: Any) -> None:
    """Evaluate a run's network on its held-out images, or on those of --data."""
    from pipeline import lifecycle, summary

    run_id = _required(run_id, "--run-id", "the run that `slipway train` printed")
    click.echo(summary.evaluation(lifecycle.evaluate(_config_of_run(run_id, config, values), run_id)))
    click.echo(f"next: slipway register --run-id {run_id}")


@main.command()
@_RUN
@config_options("name", "experiment", "workdir", "data")
def register(run_id: str | None, config: str | None, **values: Any) -> None:
    """Seal a run's network as a servable and register it as a model version."""
    from pipeline import lifecycle

    run_id = _required(run_id, "--run-id", "the run that `slipway train` printed")
    version = lifecycle.register(_config_of_run(run_id, config, values), run_id)
    click.echo(f"{version.name} version {version.version}")
    click.echo(f"next: slipway gate --name {version.name} --version {version.version}")


@main.command()
@_VERSION
@_ALIAS
@config_options("name", "experiment", "workdir", "gate")
@_JSON
def gate(version: int | None, alias: str | None, config: str | None, json: bool | None, **values: Any) -> None:
    """Compare a version with the policy and the champion; exit code 3 when it is refused."""
    from pipeline import lifecycle, summary

    resolved = _config(config, values)
    chosen = _version(resolved, version, alias)
    report = lifecycle.gate(_with_policy_of_run(resolved, chosen, config, values), chosen)
    click.echo(summary.as_json(report.as_dict()) if json else f"{report.table()}\nnext: {report.next_command}")
    _leave(refused=not report.passed)


@main.command()
@_VERSION
@_ALIAS
@option("--to", "Alias to move: champion (it goes live) or challenger.  [default: champion]")
@option("--force", "Promote although the gate refuses; needs --reason.", bool)
@_REASON
@config_options("name", "experiment", "base", "workdir", "gate")
def promote(
    version: int | None,
    alias: str | None,
    to: str | None,
    force: bool | None,
    reason: str | None,
    config: str | None,
    **values: Any,
) -> None:
    """Make a version champion (published, live) or challenger; exit code 3 when the gate refuses."""
    from pipeline import lifecycle

    if force and not reason:
        raise InputError("--force is given without --reason; expected why the gate is overridden. Pass --reason TEXT.")
    if to not in (None, "champion", "challenger"):
        raise InputError(f"--to {to!r}: expected champion or challenger. Pass one of them.")
    resolved = _config(config, values)
    chosen = _version(resolved, version, alias)
    if to == "challenger":
        promotion = lifecycle.challenge(resolved, chosen, reason or "")
    else:
        verdict = lifecycle.gate(_with_policy_of_run(resolved, chosen, config, values), chosen)
        promotion = lifecycle.promote(resolved, chosen, verdict, reason or "", force=bool(force))
    click.echo(promotion.text())
    _leave(refused=not promotion.done)


@main.command()
@_VERSION
@_ALIAS
@config_options("name", "base")
def export(version: int | None, alias: str | None, config: str | None, **values: Any) -> None:
    """Publish a version's verified servable to the base path; changes nothing about what is live."""
    from pipeline import lifecycle

    resolved = _config(config, values)
    publication = lifecycle.export(resolved, _version(resolved, version, alias))
    how = "published" if publication.created else "already published and whole"
    click.echo(f"{publication.path}  {how}, {publication.manifest.size_bytes / 1e6:.0f} MB")


@main.command()
@option("--target", "What serves: embedded, tensorflow_model_server or mlflow.  [default: embedded]")
@option("--host", "Address to listen on.  [default: 127.0.0.1]")
@option("--rest-port", "REST port.  [default: 8501]", int)
@option("--grpc-port", "gRPC port.  [default: 8500]", int)
@option("--ui", "Start the MLflow UI beside it, on port 5000.", bool)
@config_options("name", "base")
def serve(
    target: str | None,
    host: str | None,
    rest_port: int | None,
    grpc_port: int | None,
    ui: bool | None,
    config: str | None,
    **values: Any,
) -> None:
    """Serve the champion until stopped; a promotion or rollback switches it while it runs."""
    from pipeline import serve as serving_step

    ports = serving_step.Listen(
        host or "127.0.0.1", 8501 if rest_port is None else rest_port, 8500 if grpc_port is None else grpc_port
    )
    with serving_step.mlflow_ui() if ui else contextlib.nullcontext():
        sys.exit(serving_step.serve(_config(config, values), target or "embedded", ports))


@main.command()
@option("--to", "Version to go back to.  [default: the champion before this one]", int)
@_REASON
@config_options("name", "base")
def rollback(to: int | None, reason: str | None, config: str | None, **values: Any) -> None:
    """Make the previous champion live again, its bytes having been checked."""
    from pipeline import lifecycle

    click.echo(lifecycle.rollback(_config(config, values), to, reason or "").text())


@main.command()
@click.argument("images", nargs=-1)
@option("--address", "A server: http://host:8501, grpc://host:8500 or host:port; without it, the registry's version.")
@_VERSION
@_ALIAS
@option("--label", "Version label to ask a server for, such as canary.")
@config_options("name")
@_JSON
def predict(  # noqa: PLR0913, PLR0917 - one parameter an option
    images: tuple[str, ...],
    address: str | None,
    version: int | None,
    alias: str | None,
    label: str | None,
    config: str | None,
    json: bool | None,
    **values: Any,
) -> None:
    """Classify IMAGES (files or folders) by a server, or by the registry's champion."""
    from pipeline import predict as predict_step
    from serving.client import as_json, as_table

    paths = [Path(path) for path in images if path]
    if not paths:
        raise InputError("predict: no image given; expected files or folders. Run: slipway predict IMAGE...")
    ask = predict_step.Ask(address=address, version=version, alias=alias, label=label)
    predictions = predict_step.predict(_config(config, values), paths, ask)
    click.echo(as_json(predictions) if json else as_table(predictions))


@main.command()
@config_options("name", "base")
@option("--address", "A model server to ask as well.")
@_JSON
def status(config: str | None, address: str | None, json: bool | None, **values: Any) -> None:
    """Show what the registry wants live, what is published, and what a server has."""
    from pipeline import status as status_step
    from pipeline import summary

    found = status_step.status(_config(config, values), address)
    click.echo(summary.as_json(found.as_dict()) if json else found.table())


@main.command()
@config_options("name")
@_JSON
def history(config: str | None, json: bool | None, **values: Any) -> None:
    """Show who made what live, when and why."""
    from pipeline import status as status_step
    from pipeline import summary
    from registry.history import history_table

    rows = status_step.history(_config(config, values))
    click.echo(summary.as_json([row.as_dict() for row in rows]) if json else history_table(rows))


def _config(file: str | None, values: dict[str, Any]) -> Config:
    return load_config(file, overrides(values))


def _config_of_run(run_id: str, file: str | None, values: dict[str, Any]) -> Config:
    """A step after training takes the run's own configuration, unless a file is named; options stand above both."""
    from pipeline.lifecycle import run_config
    from pipeline.tracking import open_run

    if file:
        return _config(file, values)
    return with_overrides(run_config(open_run(run_id)), overrides(values))


def _with_policy_of_run(config: Config, version: "ModelVersion", file: str | None, values: dict[str, Any]) -> Config:
    """The gate judges a version by the policy that its run was started with, unless a file is named."""
    from pipeline.lifecycle import CONFIG_ARTIFACT, run_config
    from pipeline.tracking import open_run

    if file or not version.run_id or CONFIG_ARTIFACT not in (run := open_run(version.run_id)).artifacts(""):
        return config
    gate = with_overrides(run_config(run), overrides(values)).gate
    return dataclasses.replace(config, gate=gate)


def _version(config: Config, version: int | None, alias: str | None) -> "ModelVersion":
    from registry.client import Registry

    if version is not None and alias is None:
        return Registry().version(config.name, version)
    if alias is not None and version is None:
        return Registry().require_alias(config.name, alias)
    raise InputError("expected one of --version and --alias. Pass --version N, or --alias champion.")


def _required(value: str | None, flag: str, what: str) -> str:
    if not value:
        raise InputError(f"{flag} is missing; expected {what}. Pass {flag} ID.")
    return value


def _leave(*, refused: bool) -> None:
    if refused:
        sys.exit(REFUSED)


@contextlib.contextmanager
def _termination_as_interrupt() -> Iterator[None]:
    """SIGTERM ends a command as Ctrl-C does: runs are closed as KILLED, children stopped."""
    before = signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


@contextlib.contextmanager
def _quiet_libraries() -> Iterator[None]:
    """TensorFlow's start-up notices, and MLflow's news on stages and migrations, say nothing to our user."""
    import logging
    import warnings

    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    os.environ.setdefault("GRPC_VERBOSITY", "ERROR")
    os.environ.setdefault("MLFLOW_LOGGING_LEVEL", "WARNING")
    os.environ.setdefault("MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT", "true")
    logging.getLogger("alembic").setLevel(logging.WARNING)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield
