"""The command line: one group of thin commands. Errors end here, on one line."""

import atexit
import contextlib
import gc
import os
import signal
from collections.abc import Iterator
from types import FrameType
from typing import Any

import click

from pipeline.commands import (
    deciding,
    drifting,
    explaining,
    keys,
    looking,
    predictions,
    pruning,
    reconciling,
    retraining,
    rolling,
    scoring,
    serving,
    tokens,
)
from slipway.errors import SlipwayError


class _Group(click.Group):
    """Prints a foreseen error as one line, and leaves with its exit code."""

    def invoke(self, ctx: click.Context) -> Any:
        try:
            _collect_less()
            with _quiet_libraries(), _termination_as_interrupt():
                return super().invoke(ctx)
        except SlipwayError as error:
            click.echo(f"Error: {error}", err=True)
            ctx.exit(error.exit_code)
        except KeyboardInterrupt:
            click.echo("Error: stopped. Start it again: finished steps are kept.", err=True)
            ctx.exit(130)

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002 (click gives it)
        return list(self.commands)


@click.group(
    cls=_Group,
    context_settings={"auto_envvar_prefix": "SLIPWAY", "help_option_names": ["-h", "--help"], "max_content_width": 110},
)
def main() -> None:
    """The lifecycle of an image classifier on MLflow: trained, gated, published, served, verified and reversible.

    Exit codes: 0 done, 1 failed, 2 wrong usage or input, 3 refused by the gate.
    """


for command in (
    deciding.main_,
    deciding.train,
    deciding.evaluate,
    deciding.optimize,
    deciding.register,
    deciding.gate,
    deciding.promote,
    serving.export,
    reconciling.reconcile,
    serving.serve,
    rolling.rollout,
    retraining.retrain,
    drifting.drift,
    serving.rollback,
    serving.predict,
    explaining.explain,
    scoring.score,
    looking.status,
    looking.history,
    looking.trace,
    looking.verify,
    keys.keys,
    tokens.tokens,
    predictions.predictions,
    pruning.prune,
):
    main.add_command(command)


def _collect_less() -> None:
    """Let the collector be: half a second of MLflow's import, and most of another at the end of the process.

    What an import makes stays, and at the end everything goes anyway.
    """
    gc.set_threshold(50_000)
    atexit.register(gc.freeze)


@contextlib.contextmanager
def _termination_as_interrupt() -> Iterator[None]:
    """SIGTERM ends a command as Ctrl-C does: runs are closed as KILLED, children stopped."""
    before = {signal.SIGTERM: signal.signal(signal.SIGTERM, _interrupt)}
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:  # a shell's background job ignores it
        before[signal.SIGINT] = signal.signal(signal.SIGINT, _interrupt)
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _interrupt(number: int, frame: FrameType | None) -> None:
    import logging

    # Of a query that is interrupted SQLAlchemy would log a traceback: its cursor cannot be closed any more.
    logging.getLogger("sqlalchemy.pool").setLevel(logging.CRITICAL)
    signal.default_int_handler(number, frame)


@contextlib.contextmanager
def _quiet_libraries() -> Iterator[None]:
    """TensorFlow's start-up notices, and MLflow's progress bars and news on migrations, say nothing to our user."""
    import logging
    import warnings

    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    os.environ.setdefault("GRPC_VERBOSITY", "ERROR")
    os.environ.setdefault("MLFLOW_LOGGING_LEVEL", "WARNING")
    os.environ.setdefault("MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT", "true")
    os.environ.setdefault("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")
    logging.getLogger("alembic").setLevel(logging.WARNING)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield
