"""Commands that only look: status, history, trace, verify."""

import sys
from typing import Any

import click

from pipeline.commands import ALIAS, JSON, MODEL, VERSION, Command, chosen_version, config_from, config_of_model
from pipeline.options import config_options, option
from slipway.errors import InputError


@click.command(cls=Command)
@MODEL
@config_options("name", "base", "reconcile.models", "reconcile.servers")
@JSON
def status(model: str | None, config: str | None, json: bool | None, **values: Any) -> None:
    """Show what the registry wants live, what is published, what servers have, and the difference; of every model."""
    from pipeline import status as status_step
    from pipeline import summary

    resolved = config_of_model(model, config, values)
    found = status_step.status(resolved, model or values["name"])
    click.echo(summary.as_json(found.as_dict()) if json else found.text())


@click.command(cls=Command)
@MODEL
@config_options("name")
@JSON
def history(model: str | None, config: str | None, json: bool | None, **values: Any) -> None:
    """Show who made what live, when and why."""
    from pipeline import status as status_step
    from pipeline import summary
    from registry.history import history_table

    rows = status_step.history(config_of_model(model, config, values))
    click.echo(summary.as_json([row.as_dict() for row in rows]) if json else history_table(rows))


@click.command(cls=Command)
@click.argument("answer", required=False, metavar="REQUEST_ID|VERSION")
@config_options("name")
@JSON
def trace(answer: str | None, config: str | None, json: bool | None, **values: Any) -> None:
    """Trace an answer by its request id, or a version by its number, back to gate, approver, run, commit and data."""
    from pipeline import summary, trace_text
    from pipeline import trace as trace_step
    from pipeline.intact import open_own_ledger

    found = trace_step.trace(config_from(config, values), open_own_ledger(), answer or "")
    click.echo(summary.as_json(trace_text.as_dict(found)) if json else trace_text.as_text(found))


@click.command(cls=Command)
@VERSION
@ALIAS
@option("--ledger", "Verify the ledger: that no entry was changed, removed or slipped in.", bool)
@option("--digest", "Digest of an entry, kept elsewhere, that the ledger must still have; with --ledger.")
@option("--address", "A server, grpc://host:8500, to ask the version's golden requests.")
@config_options("name", "base")
@JSON
def verify(  # noqa: PLR0913, PLR0917 - one parameter an option
    version: int | None,
    alias: str | None,
    ledger: bool | None,
    digest: str | None,
    address: str | None,
    config: str | None,
    json: bool | None,
    **values: Any,
) -> None:
    """Hold a version's bytes (the champion's, by default), or the ledger, against what was recorded; exit code 1."""
    from pipeline import intact, summary

    resolved = config_from(config, values)
    if digest and not ledger:
        raise InputError("--digest is of the ledger; expected --ledger beside it. Pass both.")
    findings = [intact.check_ledger(intact.open_own_ledger(), digest)] if ledger else []
    if not ledger or version is not None or alias or address:
        unnamed = version is None and not alias
        chosen = chosen_version(resolved, version, "champion" if unnamed else alias)
        findings += intact.check_version(resolved, chosen, address)
    found = intact.Findings(findings)
    click.echo(summary.as_json(found.as_dict()) if json else found.table())
    if not found.whole:
        sys.exit(1)
