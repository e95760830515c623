"""`python -m serving.model_server`, installed as `slipway-model-server`."""

import sys

import click

from serving.model_server.flags import help_text, parse_flags
from slipway.errors import SlipwayError


def main() -> None:
    """Run the server that the command line describes, until it is told to stop; then exit."""
    arguments = sys.argv[1:]
    if {"--help", "-help", "-h"} & set(arguments):
        click.echo(help_text())
        return
    try:
        flags = parse_flags(arguments)
        from serving.model_server.process import serve

        serve(flags)
    except SlipwayError as error:
        click.echo(f"error: {error}", err=True)
        sys.exit(error.exit_code)


if __name__ == "__main__":
    main()
