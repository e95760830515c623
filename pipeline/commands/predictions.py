"""Commands about the prediction log: predictions list, summary, delete-client, prune."""

from dataclasses import asdict
from typing import Any

import click

from pipeline.commands import JSON, MODEL, Command, config_from, config_of_model, required
from pipeline.options import config_options, option

_SINCE = option("--since", "First time, as ISO 8601 has it, in UTC unless it names a zone.  [default: the first]")
_UNTIL = option("--until", "Time before which they end.  [default: now]")
_VERSION = option("--version", "Of this model version alone.", int)


@click.group()
def predictions() -> None:
    """Read, sum up and shorten the log of what model servers answered."""


@predictions.command("list", cls=Command)
@MODEL
@_SINCE
@_UNTIL
@_VERSION
@option("--limit", "How many rows, the last ones.  [default: 20]", int)
@config_options("name", "prediction_log")
@JSON
def list_(  # noqa: PLR0913, PLR0917 - one parameter an option
    model: str | None,
    since: str | None,
    until: str | None,
    version: int | None,
    limit: int | None,
    config: str | None,
    json: bool | None,
    **values: Any,
) -> None:
    """Show the last records: what was answered, with which confidence, and the true class where it came."""
    from pipeline import predictions as log
    from pipeline import summary as text
    from serving.prediction_log.reading import Window

    window = Window(log.moment("--since", since), log.moment("--until", until), version)
    rows = log.last_rows(config_of_model(model, config, values), window, log.LISTED if limit is None else limit)
    click.echo(text.as_json(rows) if json else text.table(rows, log.COLUMNS))


@predictions.command(cls=Command)
@MODEL
@_SINCE
@_UNTIL
@_VERSION
@config_options("name", "prediction_log")
@JSON
def summary(
    model: str | None,
    since: str | None,
    until: str | None,
    version: int | None,
    config: str | None,
    json: bool | None,
    **values: Any,
) -> None:
    """Sum up what each version answered: records, mean confidence and latency, accuracy where labels came."""
    from pipeline import predictions as log
    from pipeline import summary as text
    from serving.prediction_log.reading import Window

    window = Window(log.moment("--since", since), log.moment("--until", until), version)
    rows = log.summary(config_of_model(model, config, values), window)
    click.echo(text.as_json(rows) if json else text.table(rows, log.SUMMARY))


@predictions.command("delete-client", cls=Command)
@option("--client", "The client's key, as requests name it: a header's value, or an address.")
@option("--key-file", "The key of the hashes, where the server has --prediction_log_key_file.")
@option("--wait-s", "Seconds that running servers may take to rotate their journals.  [default: 10]", float)
@config_options("prediction_log")
@JSON
def delete_client(
    client: str | None,
    key_file: str | None,
    wait_s: float | None,
    config: str | None,
    json: bool | None,
    **values: Any,
) -> None:
    """Delete the records of one client up to now, of all models."""
    from pipeline import predictions as log
    from pipeline import summary as text

    whose = required(client, "--client", "the key of the client whose records are to go", "KEY")
    deleted = log.delete(config_from(config, values), whose, key_file, log.WAIT_S if wait_s is None else wait_s)
    click.echo(text.as_json(asdict(deleted)) if json else log.deleted_text(deleted))


@predictions.command(cls=Command)
@option("--days", "Remove files whose last row is older.", float)
@option("--max-mb", "Remove the oldest files until the log is no larger, in MiB.", float)
@config_options("prediction_log")
@JSON
def prune(days: float | None, max_mb: float | None, config: str | None, json: bool | None, **values: Any) -> None:
    """Remove the oldest files of the log, as running servers do by themselves."""
    from pipeline import predictions as log
    from pipeline import summary as text

    pruned = log.remove_old(config_from(config, values), max_mb, days)
    click.echo(text.as_json(asdict(pruned)) if json else f"{pruned.files} files, {pruned.bytes / 1e6:.1f} MB removed")
