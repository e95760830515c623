"""Our SavedModel against Keras' own `model.export()`, of the same network, round by round in one process.

`python -m benchmarks.export` prints a table, writes docs/benchmarks/export.md, and exits with 1 if a limit is missed.
"""

import argparse
import shutil
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from benchmarks.machine import load, machine
from pipeline.model import NetworkConfig, build_network
from serving.servable.graph import write_saved_model
from slipway.tensorflow_start import start_tensorflow

PAGE = Path(__file__).parents[1] / "docs" / "benchmarks" / "export.md"
LARGEST_SIZE, LARGEST_TIME = 1.02, 0.5  # of the weights' bytes; of model.export()'s seconds
HEADS = ("avg", "flatten")
LABELS = [str(number) for number in range(10)]
_PAGE = """\
# Export: our SavedModel against `model.export()`

`python -m benchmarks.export --rounds {rounds}`, {date}, on {machine}; load averages before it {load}.

Both export the same network in the same process, in turns, in another order every round, after a first round that
does not count. Seconds are medians; the time ratio is the median of the rounds' ratios, with the smallest and the
largest. Bytes are those of `variables/`, by the bytes of the weights. Ours has both signatures and the image decoder;
Keras' has the network alone.

| network, head | weights, MB | ours, s | Keras, s | time ratio | our bytes / weights | Keras' bytes / weights | met |
|---|---|---|---|---|---|---|---|
{rows}

Met: our bytes at most {largest_size} times the weights', our time at most {largest_time} of `model.export()`'s.
"""


@dataclass(frozen=True)
class Round:
    """One export by each. Bytes are those of `variables/`."""

    ours_s: float
    keras_s: float
    ours_bytes: int
    keras_bytes: int


@dataclass(frozen=True)
class Result:
    """All rounds of one network, in medians."""

    head: str
    weights_bytes: int
    rounds: tuple[Round, ...]

    @property
    def time_ratio(self) -> float:
        """Our seconds by Keras': the median of the rounds' ratios."""
        return statistics.median(each.ours_s / each.keras_s for each in self.rounds)

    @property
    def size_ratio(self) -> float:
        """Our bytes by the weights', the largest of all rounds."""
        return max(each.ours_bytes for each in self.rounds) / self.weights_bytes

    @property
    def met(self) -> bool:
        """Whether both limits hold."""
        return self.size_ratio <= LARGEST_SIZE and self.time_ratio <= LARGEST_TIME

    def row(self) -> str:
        """A line of the table."""
        ours, keras = (
            statistics.median(times) for times in zip(*((r.ours_s, r.keras_s) for r in self.rounds), strict=True)
        )
        ratios = sorted(each.ours_s / each.keras_s for each in self.rounds)
        of_keras = max(each.keras_bytes for each in self.rounds) / self.weights_bytes
        return (
            f"| ResNet50 224 x 224, {self.head} | {self.weights_bytes / 1e6:.1f} | {ours:.2f} | {keras:.2f} | "
            f"{self.time_ratio:.2f} ({ratios[0]:.2f} to {ratios[-1]:.2f}) | {self.size_ratio:.4f} | {of_keras:.4f} | "
            f"{'yes' if self.met else 'NO'} |"
        )


def measure(head: str, rounds: int) -> Result:
    """Export one network `rounds` times by each, in turns, after one round that does not count."""
    network = build_network(NetworkConfig(head=head), len(LABELS))
    exporters: list[Callable[[Path], Any]] = [
        lambda path: write_saved_model(network, LABELS, path),
        lambda path: network.export(path, verbose=False),
    ]
    measured = []
    for number in range(rounds + 1):
        # Whoever comes first writes to a page cache that the other has filled: change the order every round.
        order = (0, 1) if number % 2 else (1, 0)
        taken = {index: _timed(exporters[index]) for index in order}
        measured.append(Round(taken[0][0], taken[1][0], taken[0][1], taken[1][1]))
        print(f"{head} round {number}: ours {taken[0][0]:.2f} s, model.export() {taken[1][0]:.2f} s", file=sys.stderr)
    return Result(head, sum(weight.nbytes for weight in network.get_weights()), tuple(measured[1:]))


def page(results: list[Result], rounds: int, load_before: str) -> str:
    """The table as a document."""
    return _PAGE.format(
        rounds=rounds,
        date=f"{datetime.now(UTC):%Y-%m-%d}",
        machine=machine(),
        load=load_before,
        rows="\n".join(result.row() for result in results),
        largest_size=LARGEST_SIZE,
        largest_time=LARGEST_TIME,
    )


def _timed(export: Callable[[Path], Any]) -> tuple[float, int]:
    folder = Path(tempfile.mkdtemp(prefix="slipway-export-"))
    try:
        started = time.perf_counter()
        export(folder / "saved_model")
        taken_s = time.perf_counter() - started
        variables = (folder / "saved_model" / "variables").iterdir()
        return taken_s, sum(file.stat().st_size for file in variables)
    finally:
        shutil.rmtree(folder)


def main() -> None:
    """Measure, print, write the page."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5, help="rounds that count (default: 5)")
    parser.add_argument("--heads", nargs="+", default=list(HEADS), choices=HEADS, help="networks (default: both)")
    arguments = parser.parse_args()
    load_before = load()
    start_tensorflow()
    results = [measure(head, arguments.rounds) for head in arguments.heads]
    text = page(results, arguments.rounds, load_before)
    print(text)
    if tuple(arguments.heads) == HEADS:
        PAGE.write_text(text, encoding="utf-8")
    sys.exit(0 if all(result.met for result in results) else 1)


if __name__ == "__main__":
    main()
