"""Commands that only look: status, history."""

from typing import Any

import click

from pipeline.commands import JSON, MODEL, Command, config_from, config_of_model
from pipeline.options import config_options, option


@click.command(cls=Command)
@config_options("name", "base")
@option("--address", "A model server to ask as well.")
@JSON
def status(config: str | None, address: str | None, json: bool | None, **values: Any) -> None:
    """Show what the registry wants live, what is published, and what a server has."""
    from pipeline import status as status_step
    from pipeline import summary

    found = status_step.status(config_from(config, values), address)
    click.echo(summary.as_json(found.as_dict()) if json else found.table())


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
