"""`python -m pipeline.unquoted COMMAND`: the command line for whoever leaves a shell's quotes on its arguments.

MLflow's Kubernetes backend parts an entry point's command into words, quotes each for a shell, and hands them to
Kubernetes, which starts the program without one: an empty parameter arrives as two quotes.
"""

import shlex
import sys
from collections.abc import Sequence

from pipeline.cli import main
from slipway.errors import InputError


def unquoted(arguments: Sequence[str]) -> list[str]:
    """Each argument as a shell would have passed it on. InputError for one that a shell would not take as one word."""
    return [_word(argument) for argument in arguments]


def _word(argument: str) -> str:
    try:
        (word,) = shlex.split(argument)
    except ValueError as error:
        raise InputError(
            f"argument {argument!r} is not one word in a shell's quotes, as MLflow's Kubernetes backend makes them. "
            "Started by anything else, use python -m pipeline."
        ) from error
    return word


if __name__ == "__main__":
    try:
        words = unquoted(sys.argv[1:])
    except InputError as error:
        sys.stderr.write(f"Error: {error}\n")
        sys.exit(error.exit_code)
    main(words, prog_name="python -m pipeline")
