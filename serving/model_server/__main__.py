"""`python -m serving.model_server`, installed as `slipway-model-server`."""

import os
import sys
from typing import NoReturn

import click

from serving.model_server.flag_parsing import help_text, parse_flags
from slipway.errors import SlipwayError

_ENGINES = ("tensorflow-cpu", "tensorflow", "openvino", "onnxruntime", "ai-edge-litert")


def main() -> None:
    """Run the server that the command line describes, until it is told to stop; then exit."""
    arguments = sys.argv[1:]
    if {"--help", "-help", "-h"} & set(arguments):
        click.echo(help_text())
        return
    try:
        flags = parse_flags(arguments)
        if flags.version:
            click.echo(version_text())
            return
        from serving.model_server.process import serve

        serve(flags)
    except SlipwayError as error:
        click.echo(f"error: {error}", err=True)
        _leave(error.exit_code)
    _leave(0)


def _leave(exit_code: int) -> NoReturn:
    """End the process at once: threads that still work end here, and libraries' own exit handlers beside them badly."""
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(exit_code)


def version_text() -> str:
    """What --version prints: this server, and the engines that are installed; none of them is imported."""
    from importlib import metadata

    def version(name: str) -> str:
        try:
            return metadata.version(name)
        except metadata.PackageNotFoundError:
            return ""

    installed = {name: version(name) for name in ("slipway", *_ENGINES)}
    return "\n".join(f"{name} {version}" for name, version in installed.items() if version)


if __name__ == "__main__":
    main()
