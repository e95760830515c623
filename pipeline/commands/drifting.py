"""The command that compares the champion's traffic with its held-out images: drift."""

import threading
from typing import Any

import click

from pipeline.commands import JSON, MODEL, Command, config_of_model, leave
from pipeline.options import config_options, option
from slipway.errors import InputError
from slipway.stopping import stopped_by_signals


@click.command(cls=Command)
@MODEL
@option("--once", "One check, now.  [default]", bool)
@option("--watch", "A check each --check-interval-s, until stopped.", bool)
@option("--served", "With --watch: every model that is served, not NAME alone.", bool)
@option("--exit-code", "Leave with exit code 3 when drift is found.", bool)
@config_options("name", "experiment", "prediction_log", "drift")
@JSON
def drift(  # noqa: PLR0913, PLR0917 - one parameter an option
    model: str | None,
    once: bool | None,
    watch: bool | None,
    served: bool | None,
    exit_code: bool | None,
    config: str | None,
    json: bool | None,
    **values: Any,
) -> None:
    """Compare what the champion was asked and answered with its held-out images, and tag it with the finding."""
    from pipeline import summary
    from pipeline.drift import check
    from pipeline.drift.watching import watch_traffic

    if watch and (once or exit_code or json):
        raise InputError("--watch excludes --once, --exit-code and --json; expected it alone. Leave out the others.")
    if served and (model or not watch):
        raise InputError("--served is for --watch, without NAME; expected `slipway drift --watch --served`. Pass that.")
    resolved = config_of_model(model, config, values)
    if watch:
        stop = threading.Event()
        with stopped_by_signals(stop, interrupt=True):
            watch_traffic(resolved, stop, served=bool(served))
        return
    report = check(resolved)
    click.echo(summary.as_json(report.as_dict()) if json else report.text())
    leave(refused=bool(exit_code) and report.found)
