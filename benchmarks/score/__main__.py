"""`slipway score` at 224 x 224 beside OpenVINO alone, on the same variant and cores; Spark's figure beside them.

`python -m benchmarks.score` prints a table, writes docs/benchmarks/score.md, and exits with 1 if the processes are
slower than the limit. The network is kept in `--workdir`.
"""

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from benchmarks.figures import median_and_span
from benchmarks.machine import load, machine
from benchmarks.promotion.registered import Registered
from benchmarks.score.material import made, write_list
from benchmarks.serving.inprocess import RAW, in_process
from benchmarks.serving.network import NAME

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "benchmarks" / "score.md"
LEAST = 0.85  # of OpenVINO alone
CORES = 2  # streams of OpenVINO alone, and processes
_REFERENCE = "tensorflow-fp32"
_PAGE = """\
# Scoring in bulk beside OpenVINO alone

`python -m benchmarks.score --rounds {rounds} --images {images} --variants {variants}`, {date}, on {machine}; load
averages before it {load}.

ResNet50 with average pooling, 224 x 224, random weights. `slipway score` reads {images:,} rows of a CSV file that names
JPEG photographs of 500 x 375 and some 30 KB, decodes, resizes, classifies and writes them as parquet, by {cores}
processes of one thread each; counted are the images from the first one that is read to the last one that is written,
without the start of the processes and the loading of the network. OpenVINO alone has {cores} asynchronous streams
that are always full, fed with arrays that were decoded before; it runs for {seconds:.0f} s before and after each
scoring, and a round's ratio is the scoring's images per second by the mean of the two.

| variant | `slipway score`, images/s and core | span | OpenVINO alone | span | ratio, median | span | met |
|---|---|---|---|---|---|---|---|
{rows}

Met: a median ratio of {least} at least.

The registered MLflow model, {reference}, of {spark_images:,} of the rows. Spark's figure counts from its first image,
too; its Python processes load MLflow and TensorFlow after that.

| {reference}, by | images/s and core | span |
|---|---|---|
{others}
"""


@dataclass(frozen=True)
class Round:
    """Images a second and core."""

    score: float
    before: float
    after: float

    @property
    def alone(self) -> float:
        """OpenVINO alone, at the time of the scoring."""
        return (self.before + self.after) / 2

    @property
    def ratio(self) -> float:
        """The scoring by OpenVINO alone."""
        return self.score / self.alone


def scored(registered: Registered, images: Path, part_images: int, *words: str) -> float:
    """Images a second and core of one `slipway score` into an output of its own."""
    output = registered.folder / "scored"
    shutil.rmtree(output, ignore_errors=True)
    command = [sys.executable, "-m", "pipeline", "score", "--name", NAME, "--version", "1", "--json", *words]
    command += ["--input", str(images), "--output", str(output), "--part-images", str(part_images)]
    command += ["--workers", str(CORES)]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "MLFLOW_TRACKING_URI": registered.uri}
    done = subprocess.run(
        command, cwd=registered.folder, env=environment, stdout=subprocess.PIPE, check=False, text=True
    )
    if done.returncode:
        raise SystemExit(f"{' '.join(command)} ended with {done.returncode}; its messages stand above.")
    result = json.loads(done.stdout)
    if result["failed"] or not result["scored"]:
        raise SystemExit(f"{result['failed']} of {result['scored']} images could not be scored.")
    return float(result["scored"] / result["scoring_s"] / CORES)


def measure(
    registered: Registered, arguments: argparse.Namespace
) -> tuple[dict[str, list[Round]], dict[str, list[float]]]:
    """All variants beside OpenVINO, and the reference by both engines, in each round."""
    every = write_list(registered.folder, arguments.images)
    few = write_list(registered.folder, arguments.spark_images)
    results: dict[str, list[Round]] = {name: [] for name in arguments.variants}
    others: dict[str, list[float]] = {"processes": [], "Spark": []}
    for number in range(arguments.rounds):
        for name in arguments.variants:
            before = alone(registered, name, arguments.seconds)
            score = scored(registered, every, _part(arguments.images), "--variant", name)
            results[name].append(Round(score, before, alone(registered, name, arguments.seconds)))
            said = results[name][-1]
            print(f"round {number}, {name}: {said.score:.1f} of {said.alone:.1f}, {said.ratio:.2f}", file=sys.stderr)
        part = _part(arguments.spark_images)
        others["processes"].append(scored(registered, few, part, "--variant", _REFERENCE))
        others["Spark"].append(scored(registered, few, part, "--engine", "spark"))
        print(
            f"round {number}, {_REFERENCE}: {others['processes'][-1]:.1f}, {others['Spark'][-1]:.1f}", file=sys.stderr
        )
    return results, others


def alone(registered: Registered, variant: str, seconds: float) -> float:
    """Images a second and core of OpenVINO's streams."""
    with in_process(RAW, registered.base / NAME / "1") as raw:
        raw.ask("throughput", variant=variant, seconds=1.0)  # compiles it
        return float(raw.ask("throughput", variant=variant, seconds=seconds)) / CORES


def met(rounds: Sequence[Round]) -> bool:
    """Whether the limit holds."""
    return statistics.median(each.ratio for each in rounds) >= LEAST


def page(
    results: dict[str, list[Round]], others: dict[str, list[float]], arguments: argparse.Namespace, load_before: str
) -> str:
    """The measurement as a document."""
    rows = []
    for name, rounds in results.items():
        columns = ([each.score for each in rounds], [each.alone for each in rounds], [each.ratio for each in rounds])
        cells = [cell for values in columns for cell in median_and_span(values)]
        rows.append(f"| {' | '.join([name, *cells, 'yes' if met(rounds) else 'NO'])} |")
    return _PAGE.format(
        rounds=arguments.rounds,
        images=arguments.images,
        variants=" ".join(arguments.variants),
        date=f"{datetime.now(UTC):%Y-%m-%d}",
        machine=machine(),
        load=load_before,
        cores=CORES,
        seconds=arguments.seconds,
        rows="\n".join(rows),
        least=LEAST,
        reference=_REFERENCE,
        spark_images=arguments.spark_images,
        others="\n".join(f"| {' | '.join([name, *median_and_span(values)])} |" for name, values in others.items()),
    )


def _part(images: int) -> int:
    """So that no process has much more to do than another."""
    return max(1, min(100, images // (4 * CORES)))


def main() -> None:
    """Measure, print, write the page."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--images", type=int, default=4000, help="that a scoring is of (default: 4000)")
    parser.add_argument("--spark-images", type=int, default=1000, help="the same for TensorFlow (default: 1000)")
    parser.add_argument("--seconds", type=float, default=15.0, help="of OpenVINO alone, each time (default: 15)")
    parser.add_argument("--variants", nargs="+", default=["openvino-int8", "openvino-bf16"])
    parser.add_argument("--workdir", type=Path, default=Path.home() / ".cache" / "slipway-benchmarks")
    parser.add_argument("--page", type=Path, default=PAGE, help="where the table goes")
    arguments = parser.parse_args()
    arguments.spark_images = min(arguments.spark_images, arguments.images)
    load_before = load()
    registered = made(arguments.workdir.resolve(), tuple(arguments.variants))
    results, others = measure(registered, arguments)
    text = page(results, others, arguments, load_before)
    print(text)
    arguments.page.write_text(text, encoding="utf-8")
    sys.exit(0 if all(met(rounds) for rounds in results.values()) else 1)


if __name__ == "__main__":
    main()
