"""The command that removes from the base path what nothing wants any more: prune."""

from typing import Any

import click

from pipeline.commands import JSON, MODEL, Command, config_of_model
from pipeline.options import config_options, option


@click.command(cls=Command)
@MODEL
@option("--keep", "How many versions stay that nothing wants, the highest ones.  [default: 1]", int)
@option("--dry-run", "Print what would be removed, and change nothing.", bool)
@option(
    "--given-up-s",
    "Seconds without a write after which nobody is at an unfinished publication any more.  [default: 86400]",
    float,
)
@config_options("name", "base", "reconcile.models", "reconcile.servers", "reconcile.allow_retire", "reconcile.lease_s")
@JSON
def prune(
    model: str | None,
    keep: int | None,
    dry_run: bool | None,
    given_up_s: float | None,
    config: str | None,
    json: bool | None,
    **values: Any,
) -> None:
    """Remove published versions that are not champion, the one before, challenger or listed in a config file."""
    from pipeline import prune as prune_step
    from pipeline import summary

    resolved = config_of_model(model, config, values)
    name = model or values["name"]
    rules = prune_step.Rules(
        prune_step.KEEP if keep is None else keep, prune_step.GIVEN_UP_S if given_up_s is None else given_up_s
    )
    pruning = prune_step.prune(resolved, (name,) if name else None, rules, dry_run=bool(dry_run))
    click.echo(summary.as_json(pruning.as_dict()) if json else pruning.text())
