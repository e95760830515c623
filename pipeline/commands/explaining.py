"""The command that shows where a model looks: explain."""

from pathlib import Path
from typing import Any

import click

from pipeline.commands import ALIAS, JSON, VERSION, Command, config_from
from pipeline.options import config_options, option
from slipway.errors import InputError


@click.command(cls=Command)
@click.argument("images", nargs=-1)
@option("--output", "Folder for the overlays, a PNG an image.  [default: explanations]")
@option("--address", "A server: http://host:8501 or host:port; without it, the registry's version.")
@VERSION
@ALIAS
@option("--label", "Version label to ask a server for, such as canary.")
@config_options("name", "experiment")
@JSON
def explain(  # noqa: PLR0913, PLR0917 - one parameter an option
    images: tuple[str, ...],
    output: str | None,
    address: str | None,
    version: int | None,
    alias: str | None,
    label: str | None,
    config: str | None,
    json: bool | None,
    **values: Any,
) -> None:
    """Show where in IMAGES (files or folders) a server's model, or the registry's champion, sees what it answers."""
    from pipeline import explain as explain_step
    from pipeline import summary
    from pipeline.predict import Ask

    paths = [Path(path) for path in images if path]
    if not paths:
        raise InputError("explain: no image given; expected files or folders. Run: slipway explain IMAGE...")
    ask = Ask(address=address, version=version, alias=alias, label=label)
    found = explain_step.explain(config_from(config, values), paths, ask, Path(output or "explanations"))
    click.echo(summary.as_json(found.as_dict()) if json else found.table())
