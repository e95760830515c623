"""`python -m deploy.stack up|down|status`; `make stack` and `make stack-down` call it."""

import sys
from pathlib import Path

import click

from slipway.errors import SlipwayError

_FOLDER = click.option(
    "--folder",
    type=click.Path(path_type=Path),
    default=Path("stack"),
    show_default=True,
    envvar="SLIPWAY_STACK",
    help="Where everything lies that the stack keeps.",
)


class _Group(click.Group):
    def invoke(self, ctx: click.Context) -> object:
        try:
            return super().invoke(ctx)
        except SlipwayError as error:
            click.echo(f"error: {error}", err=True)
            sys.exit(error.exit_code)


@click.group(cls=_Group, context_settings={"help_option_names": ["-h", "--help"]})
def main() -> None:
    """PostgreSQL, S3, MLflow with a login, model server, sidecar, reconciler, drift check, Prometheus; on loopback."""


@main.command()
@_FOLDER
def up(folder: Path) -> None:
    """Have it running."""
    from deploy.stack.stack import Stack

    stack = Stack(folder)
    stack.up(_say)
    for name, address in stack.addresses.items():
        click.echo(f"{name:<18} {address}")
    click.echo(f"next: . {folder}/env && slipway main --config {folder}/slipway.yaml")


@main.command()
@_FOLDER
@click.option("--remove", is_flag=True, help="Remove everything that it kept, too.")
def down(folder: Path, *, remove: bool) -> None:
    """End it."""
    from deploy.stack.stack import Stack

    if not folder.exists():
        click.echo(f"{folder} is not there: nothing runs")
        return
    stack = Stack(folder)
    stack.down(_say)
    if remove:
        stack.remove()


@main.command()
@_FOLDER
def status(folder: Path) -> None:
    """Say what runs; exit code 1 if something does not."""
    from deploy.stack.stack import Stack

    if not folder.exists():
        click.echo(f"{folder} is not there: nothing runs")
        sys.exit(1)
    stack = Stack(folder)
    answering = True
    for name, part in stack.parts.items():
        try:
            well = part.service.answers()
        except SlipwayError as error:
            well, said = False, str(error)
        else:
            said = "answers" if well else "does not answer"
        answering = answering and well
        click.echo(f"{name:<14} {said}")
    sys.exit(0 if answering else 1)


def _say(text: str) -> None:
    click.echo(text, err=True)


if __name__ == "__main__":
    main(prog_name="python -m deploy.stack")
