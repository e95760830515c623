"""The command that trains again where there is a reason to: retrain."""

import sys
from typing import Any

import click

from pipeline.commands import JSON, MODEL, Command, config_of_champion
from pipeline.options import config_options, option


@click.command(cls=Command)
@MODEL
@option("--to", "What a candidate becomes that the gate passes: champion or canary.  [default: champion]")
@option("--force", "Train although there is no reason, or a refusal is fresh.", bool)
@option("--schedule", 'Stay, and retrain whenever a crontab\'s five fields say, such as "0 3 * * *".', name="crontab")
@config_options(
    *("name", "experiment", "base", "workdir", "retrain", "data", "train", "optimize", "gate", "signing"),
    *("reconcile.servers", "reconcile.load_timeout_s"),
    without=("train.schedule",),
)
@JSON
@click.pass_context
def retrain(  # noqa: PLR0913, PLR0917 - one parameter an option
    context: click.Context,
    /,
    model: str | None,
    to: str | None,
    force: bool | None,
    crontab: str | None,
    config: str | None,
    json: bool | None,
    **values: Any,
) -> None:
    """Train again if data, drift or age are a reason, and promote what is no worse; exit code 3 when it is refused."""
    from pipeline import summary
    from pipeline.retrain.retraining import Request
    from pipeline.retrain.retraining import retrain as retrain_step
    from pipeline.retrain.schedule import keep_retraining

    request = Request(to or "champion", force=bool(force))
    resolved = config_of_champion(model, config, values)  # for a schedule, too: what is wrong is said now, not at night
    if crontab:
        keep_retraining(crontab, _words(context))
        return
    outcome = retrain_step(resolved, request)
    click.echo(summary.as_json(outcome.as_dict()) if json else outcome.line())
    sys.exit(outcome.exit_code)


def _words(context: click.Context) -> list[str]:
    """This command as it was called, without its schedule."""
    given = [(parameter, context.params[parameter.name]) for parameter in context.command.params if parameter.name]
    words = ["retrain"]
    for parameter, value in given:
        if value is None or parameter.name == "crontab":
            continue
        shown = str(value).lower() if isinstance(value, bool) else str(value)
        words += [shown] if isinstance(parameter, click.Argument) else [parameter.opts[0], shown]
    return words
