"""A frozen backbone with and without cached features: `python -m benchmarks.retrain` writes its page.

Both learn the same head from the same weights on the digits, in the same batches, an epoch of each in turn.
"""

import sys
import tempfile
import time
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from statistics import median
from typing import Any

import click
import numpy as np

from benchmarks.machine import load, machine
from pipeline.data import DataConfig, batches, load_dataset
from pipeline.epochs import Alone
from pipeline.features import OnFeatures
from pipeline.train import TrainConfig, computing, fresh_network

PAGE = Path(__file__).parents[1] / "docs" / "benchmarks" / "retrain.md"
WANTED = 8.0


@dataclass(frozen=True)
class Measured:
    """One way to learn. epochs_s: without the first, which is traced; accuracy: on the held-out images."""

    name: str
    first_s: float
    epochs_s: list[float]
    loss: float
    accuracy: float


@click.command()
@click.option("--epochs", default=6, show_default=True)
@click.option("--network", default="resnet50", show_default=True)
@click.option("--head", default="avg", show_default=True)
@click.option("--image-size", default=32, show_default=True)
def main(epochs: int, network: str, head: str, image_size: int) -> None:
    """Measure, print the table and write the page; exit code 1 where it is not as fast as wanted, or less accurate."""
    words = f"--epochs {epochs} --network {network} --head {head} --image-size {image_size}"
    before = load()
    config = TrainConfig(network=network, head=head, image_size=image_size, epochs=epochs, freeze_backbone=True)
    found = measured(config)
    PAGE.write_text(page(found, words, before), encoding="utf-8")
    click.echo(table(found))
    sys.exit(not is_met(found))


def measured(config: TrainConfig) -> list[Measured]:
    """Both ways, in turns; the cached one begins with computing its features, in its first epoch's time."""
    with tempfile.TemporaryDirectory(prefix="slipway-retrain-") as folder, computing(config):
        dataset = load_dataset(DataConfig(), Path(folder))
        ways: dict[str, tuple[Any, Any]] = {}
        begun: dict[str, float] = {}
        for name, learning in (
            ("without", Alone(config, dataset)),
            ("cached", OnFeatures(config, dataset, Path(folder) / "features", click.echo)),
        ):
            import keras

            keras.utils.set_random_seed(config.seed)
            network = fresh_network(config, dataset)
            started = time.monotonic()
            learning.begin(network, 0)
            begun[name] = time.monotonic() - started
            ways[name] = (network, learning)
        took: dict[str, list[float]] = {name: [] for name in ways}
        losses: dict[str, float] = {}
        for epoch in range(config.epochs):
            for name, (_, learning) in ways.items():
                started = time.monotonic()
                losses[name] = learning.epoch(epoch)["loss"]
                took[name].append(time.monotonic() - started)
        return [
            Measured(
                name,
                begun[name] + took[name][0],
                took[name][1:],
                losses[name],
                accuracy(ways[name][0], dataset, config),
            )
            for name in ways
        ]


def accuracy(network: Any, dataset: Any, config: TrainConfig) -> float:
    """Share of the held-out images that the network has right."""
    size = (config.image_size, config.image_size)
    images = batches(dataset.test, len(dataset.labels), size, 32, None, max_pixels=dataset.max_pixels)
    answers = np.concatenate([np.asarray(network.predict_on_batch(pixels)) for pixels, _ in images])
    return float((answers.argmax(axis=1) == [record.class_id for record in dataset.test]).mean())


def table(found: list[Measured]) -> str:
    """A Markdown table, a line a way, and the ratio of their epochs."""
    lines = ["| features | first epoch, s | other epochs, s | last loss | held-out accuracy |", "|---|---|---|---|---|"]
    lines += [
        f"| {each.name} | {each.first_s:.1f} | {median(each.epochs_s):.2f} ({min(each.epochs_s):.2f} to "
        f"{max(each.epochs_s):.2f}) | {each.loss:.4f} | {each.accuracy:.4f} |"
        for each in found
    ]
    met = "met" if is_met(found) else "not met"
    said = (
        f"An epoch is {times_faster(found):.1f} times as fast; wanted {WANTED:g} times, accuracies within 0.02: {met}."
    )
    return "\n".join([*lines, "", said])


def times_faster(found: list[Measured]) -> float:
    """The medians' ratio."""
    without, cached = found
    return median(without.epochs_s) / median(cached.epochs_s)


def is_met(found: list[Measured]) -> bool:
    """Whether the cache is as fast as wanted, and the network as accurate as without."""
    without, cached = found
    return times_faster(found) >= WANTED and abs(without.accuracy - cached.accuracy) <= 0.02


def page(found: list[Measured], words: str, before: str) -> str:
    """docs/benchmarks/retrain.md."""
    return f"""# Retraining with a frozen backbone: cached features

`python -m benchmarks.retrain {words}`, {datetime.now(UTC):%Y-%m-%d}, on {machine()}; load averages before it {before}.

A backbone with random, frozen weights and a fresh head, on the digits, validation included; an epoch of each way in
turn, from the same weights, in the same batches. Seconds are medians, with the smallest and the largest. The first
epoch has the tracing, and with the cache the computing of the features.

{table(found)}
"""


if __name__ == "__main__":
    main()
