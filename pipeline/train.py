"""Train the network, epoch by epoch, so that a stopped run goes on where it was."""

import contextlib
import signal
import tempfile
import time
import zipfile
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from pipeline.budget import Budget
from pipeline.model import NetworkConfig, build_network
from pipeline.progress import epoch_line
from slipway.errors import InputError, NotFoundError
from slipway.tensorflow_start import start_tensorflow

if TYPE_CHECKING:
    import keras

    from pipeline.data import Dataset
    from pipeline.tracking import StepRun

SCHEDULES = ("constant", "cosine")
PRECISIONS = ("float32", "bfloat16")
NETWORK_ARTIFACT = "network/model.keras"
_CHECKPOINTS = "checkpoint"

Progress = Callable[[str], None]


@dataclass(frozen=True)
class TrainConfig(NetworkConfig):
    """How the network is trained: Adam on categorical cross-entropy."""

    epochs: int = 10
    batch_size: int = 32
    learning_rate: float = 1e-3
    schedule: str = "constant"  # constant, or cosine: half an epoch of warm-up, then down to a hundredth
    precision: str = "float32"  # of the computation while training; the saved network computes in float32
    shift: float = 0.0  # training images are moved by up to this share of their side, anew in every epoch
    seed: int = 0

    def __post_init__(self) -> None:
        super().__post_init__()
        for key, smallest in (("epochs", 1), ("batch_size", 1), ("seed", 0)):
            value = getattr(self, key)
            if value < smallest:
                raise InputError(
                    f"train.{key} is {value}; expected {smallest} or more. Edit it or pass --{key.replace('_', '-')}."
                )
        if self.seed >= 2**32:
            raise InputError(f"train.seed is {self.seed}; expected less than 4294967296. Edit it or pass --seed.")
        if not 0 < self.learning_rate < 10:
            raise InputError(
                f"train.learning_rate is {self.learning_rate}; expected above 0 and below 10. "
                "Edit it or pass --learning-rate."
            )
        if not 0 <= self.shift <= 0.5:
            raise InputError(f"train.shift is {self.shift}; expected from 0 to 0.5. Edit it or pass --shift.")
        for key, known in (("schedule", SCHEDULES), ("precision", PRECISIONS)):
            value = getattr(self, key)
            if value not in known:
                raise InputError(f"train.{key} is {value!r}; expected {' or '.join(known)}. Edit it or pass --{key}.")

    @property
    def shift_pixels(self) -> int:
        return round(self.shift * self.image_size)


@dataclass(frozen=True)
class TrainedModel:
    """A finished training: its run, and what the last epoch measured."""

    run_id: str
    parameters: int
    epochs: int
    metrics: Mapping[str, float]

    def summary(self) -> str:
        measured = ", ".join(f"{key} {value:.4f}" for key, value in self.metrics.items())
        return f"run {self.run_id}: {self.parameters:,} parameters, {self.epochs} epochs, {measured}"


class Learning(Protocol):
    """How an epoch is learned: by this process alone, or by several."""

    def begin(self, network: "keras.Model", first_epoch: int) -> None:
        """Take the network as it is before the first epoch that is to be learned."""

    def epoch(self, epoch: int) -> dict[str, float]:
        """Change the network by one epoch, counted from 0; its loss and accuracy, of training and validation."""


def train(
    config: TrainConfig,
    dataset: "Dataset",
    run: "StepRun",
    report: Progress,
    learning: Learning,
    budget: Budget | None = None,
) -> TrainedModel:
    """Train on `dataset`, logging each epoch to `run`; goes on from the run's last checkpoint if it has one.

    Same configuration, data and machine: same weights. The trained network is the run's artifact `network/model.keras`.
    With a budget it may have had fewer epochs than configured; OutOfTime if not one was over in time.
    """
    with computing(config), tempfile.TemporaryDirectory(prefix="slipway-train-") as scratch:
        network, first_epoch = _restored(run, Path(scratch)) or (fresh_network(config, dataset), 0)
        run.params({"parameters": network.count_params()})
        metrics: dict[str, float] = run.latest_metrics() if first_epoch else {}
        learned = first_epoch
        took_s = 0.0
        # A run stopped between an epoch's metrics and its checkpoint trains that epoch again, to the same result.
        measured = set(run.metric_history("loss")[0])
        learning.begin(network, first_epoch)
        for epoch in range(first_epoch, config.epochs):
            if budget and learned and not budget.has_time_for(took_s):
                report(f"the budget ends the training after epoch {learned} of {config.epochs}")
                break
            started = time.monotonic()
            metrics = learning.epoch(epoch)
            with _uninterrupted():
                took_s = time.monotonic() - started
                if epoch + 1 not in measured:
                    run.metrics(metrics, step=epoch + 1)
                if epoch + 1 < config.epochs:
                    _checkpoint(network, run, epoch + 1, Path(scratch))
                report(epoch_line(epoch + 1, config.epochs, metrics, took_s))  # once it is kept
                learned = epoch + 1
        _log_network(network, config, len(dataset.labels), run, Path(scratch))
    run.figure("learning_curves.png", _learning_curves(run))
    run.remove(_CHECKPOINTS)  # last: who is stopped before has something to go on from
    shown = {key: metrics[key] for key in ("loss", "accuracy", "val_loss", "val_accuracy")}
    return TrainedModel(run.run_id, network.count_params(), learned, shown)


@contextlib.contextmanager
def computing(config: TrainConfig) -> Iterator[None]:
    """Seeded, the same for the same seed, and in the configured precision, for the length of the block."""
    tf = start_tensorflow()
    import keras

    keras.utils.set_random_seed(config.seed)
    tf.config.experimental.enable_op_determinism()
    keras.mixed_precision.set_global_policy("mixed_bfloat16" if config.precision == "bfloat16" else "float32")
    try:
        yield
    finally:
        keras.mixed_precision.set_global_policy("float32")


def load_network(run: "StepRun") -> "keras.Model":
    """The trained network of a finished run, with float32 computation."""
    start_tensorflow()
    import keras

    with tempfile.TemporaryDirectory(prefix="slipway-network-") as scratch:
        try:
            file = run.download(NETWORK_ARTIFACT, Path(scratch))
        except NotFoundError as error:
            raise NotFoundError(
                f"run {run.run_id} has no {NETWORK_ARTIFACT}; expected a finished training run. "
                f"Finish it with `slipway train --resume {run.run_id}`, or name another run."
            ) from error
        return keras.models.load_model(file, compile=False)


def fresh_network(config: TrainConfig, dataset: "Dataset") -> "keras.Model":
    """The configured network before its first epoch, with its optimizer."""
    import keras

    network = build_network(config, len(dataset.labels))
    steps = -(-len(dataset.train) // config.batch_size)
    rate: Any = config.learning_rate
    if config.schedule == "cosine":
        warmup = max(1, steps // 2)
        rate = keras.optimizers.schedules.CosineDecay(
            0.0, max(1, config.epochs * steps - warmup), alpha=0.01, warmup_target=rate, warmup_steps=warmup
        )
    network.compile(keras.optimizers.Adam(rate), "categorical_crossentropy", metrics=["accuracy"])
    return network


@contextlib.contextmanager
def _uninterrupted() -> Iterator[None]:
    """Ctrl-C waits until the block ends: a finished epoch is kept whole."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT, signal.SIGTERM})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _checkpoint(network: "keras.Model", run: "StepRun", epoch: int, scratch: Path) -> None:
    file = scratch / f"epoch-{epoch:04d}.keras"
    network.save(file)
    run.file(file, _CHECKPOINTS)
    file.unlink()
    # The one before goes only now: a kill while the new one is written leaves the old one whole.
    run.remove(f"{_CHECKPOINTS}/epoch-{epoch - 1:04d}.keras")


def _restored(run: "StepRun", scratch: Path) -> "tuple[keras.Model, int] | None":
    import keras

    for path in sorted(run.artifacts(_CHECKPOINTS), reverse=True):
        file = run.download(path, scratch)
        try:
            return keras.models.load_model(file), int(file.stem.removeprefix("epoch-"))
        except (
            ValueError,
            OSError,
            EOFError,
            KeyError,
            zipfile.BadZipFile,
        ):  # cut off while it was written: the one before is whole
            continue
    return None


def _log_network(network: "keras.Model", config: TrainConfig, classes: int, run: "StepRun", scratch: Path) -> None:
    import dataclasses

    import keras

    if config.precision != "float32":
        keras.mixed_precision.set_global_policy("float32")
        trained = network.get_weights()
        network = build_network(dataclasses.replace(config, weights="none", keep_head=False), classes)
        network.set_weights(trained)
    file = scratch / Path(NETWORK_ARTIFACT).name
    network.save(file, include_optimizer=False)
    run.file(file, str(Path(NETWORK_ARTIFACT).parent))


def _learning_curves(run: "StepRun") -> Any:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, 3.5), layout="constrained")
    for axes, key in zip(figure.subplots(1, 2), ("loss", "accuracy"), strict=True):
        for name, label in ((key, "training"), (f"val_{key}", "validation")):
            steps, values = run.metric_history(name)
            axes.plot(steps, values, marker=".", label=label)
        axes.set_xlabel("epoch")
        axes.set_ylabel(key)
        axes.legend()
    return figure
