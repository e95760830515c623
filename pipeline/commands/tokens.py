"""Commands about the tokens by which a model server lets clients in: tokens create, list, remove."""

from pathlib import Path

import click

from pipeline.commands import JSON, Command, required
from pipeline.options import option

FILE = click.argument("file")


@click.group()
def tokens() -> None:
    """Make, list and remove the tokens by which a model server lets clients in."""


@tokens.command(cls=Command)
@FILE
@option("--name", "Whose it is, as the access log will say.")
@option("--scope", "What it is for: predict, metrics or admin, or several with commas between.  [default: predict]")
@option("--expires", "First day, in UTC, on which it is not valid, such as 2027-01-01, or never.  [default: never]")
def create(file: str, name: str | None, scope: str | None, expires: str | None) -> None:
    """Print a new token, once, and add its digest to FILE."""
    from serving.model_server.access_tokens import NEVER, PREDICT, add_token, new_token

    whose = required(name, "--name", "whose token it is", "NAME")
    token, noted = new_token(whose, (scope or PREDICT).split(","), expires or NEVER)
    add_token(Path(file), noted)
    click.echo(token)
    click.echo(f"token {whose}: give it to its user, it is kept nowhere; {file} has its SHA-256", err=True)


@tokens.command("list", cls=Command)
@FILE
@JSON
def list_(file: str, json: bool | None) -> None:
    """List the tokens of FILE: names, scopes, and when they expire."""
    import time

    from pipeline import summary
    from serving.model_server.access_tokens import NEVER, SCOPES, read_tokens

    rows = [
        {
            "name": token.name,
            "scopes": ",".join(scope for scope in SCOPES if scope in token.scopes),
            "expires": str(token.expires or NEVER),
            "state": "expired" if token.is_expired(time.time()) else "valid",
        }
        for token in read_tokens(Path(file))
    ]
    click.echo(summary.as_json(rows) if json else summary.table(rows, ("name", "scopes", "expires", "state")))


@tokens.command(cls=Command)
@FILE
@option("--name", "Whose token no longer lets anybody in.")
def remove(file: str, name: str | None) -> None:
    """Remove a token from FILE; servers that follow it let nobody in with it a second later."""
    from serving.model_server.access_tokens import remove_token

    whose = required(name, "--name", "the token's name, as `slipway tokens list` has it", "NAME")
    remove_token(Path(file), whose)
    click.echo(f"token {whose} is removed from {file}")
