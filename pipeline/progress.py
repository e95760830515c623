"""Progress of long work on standard error: a line that moves on a terminal, plain lines elsewhere."""

import sys
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    import keras


def report(line: str) -> None:
    """One plain line of progress."""
    click.echo(line, err=True)


def epoch_callback(epoch: int, epochs: int, steps: int, report: Callable[[str], None]) -> "keras.callbacks.Callback":
    """A Keras callback that shows the steps of one epoch, and reports its result as one line."""
    import keras

    class EpochProgress(keras.callbacks.Callback):  # type: ignore[misc]
        def on_train_begin(self, logs: dict[str, Any] | None = None) -> None:  # noqa: ARG002 (Keras gives it)
            self.started = time.monotonic()

        def on_train_batch_end(self, batch: int, logs: dict[str, Any] | None = None) -> None:
            if sys.stderr.isatty():
                loss = (logs or {}).get("loss", float("nan"))
                click.echo(f"\repoch {epoch}/{epochs}  step {batch + 1}/{steps}  loss {loss:.4f}", err=True, nl=False)

        def on_epoch_end(self, _: int, logs: dict[str, Any] | None = None) -> None:
            measured = "  ".join(f"{key} {value:.4f}" for key, value in (logs or {}).items())
            lead = "\r" if sys.stderr.isatty() else ""
            report(f"{lead}epoch {epoch}/{epochs}  {measured}  {time.monotonic() - self.started:.0f} s")

    return EpochProgress()
