"""What the prediction log costs: two servers that differ by it alone, in rounds of measurements.

`python -m benchmarks.prediction_log` prints a table, writes docs/benchmarks/prediction_log.md, and exits with 1 if the
median ratio of throughputs is below the limit. The network is kept in `--workdir`.
"""

import argparse
import shutil
import statistics
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

from benchmarks.figures import median_and_span
from benchmarks.machine import load, machine
from benchmarks.serving import material
from benchmarks.serving.environments import own_environment
from benchmarks.serving.figures import Figures
from benchmarks.serving.load import ROOT, Load, run_load
from benchmarks.serving.network import NAME
from benchmarks.serving.running import Running, running
from benchmarks.serving.servers import GRPC_KIND, JPEG_KIND, Server, slipway
from serving.prediction_log.reading import read_records

PAGE = ROOT / "docs" / "benchmarks" / "prediction_log.md"
LEAST = 0.98  # of the throughput without the log
CLIENTS = 8
_LOG = "prediction-log"
_REST_S = 1.0  # the log looks at the last images of a measurement then
_KINDS = (JPEG_KIND, GRPC_KIND)
_PAGE = """\
# What the prediction log costs

`python -m benchmarks.prediction_log --rounds {rounds} --seconds {seconds:g} --variant {variant}`, {date}, on {machine};
load averages before it {load}.

Two of our model servers with ResNet50 at 224 x 224, one with `--prediction_log`, all else as it is by default. A round
measures one, the other, the other and the one again, {seconds:g} s each with {clients} clients, in turns which is
first: a machine that grows steadily slower or faster favours neither. The ratio is of a round's two throughputs.

| asked by | with the log, requests/s | span | without it | span | ratio, median | span | met |
|---|---|---|---|---|---|---|---|
{rows}

Met: a median ratio of {least} at least. The log had {records} records in the end, of {answers} answers that were
measured and the few before each measurement; of {examined} the image was looked at.
"""


@dataclass(frozen=True)
class Round:
    """The measurements of both servers."""

    logged: Sequence[Figures]
    plain: Sequence[Figures]

    @property
    def throughputs(self) -> tuple[float, float]:
        """Good answers a second, with the log and without it."""
        with_it, without = (statistics.mean(each.throughput for each in found) for found in (self.logged, self.plain))
        return with_it, without

    @property
    def ratio(self) -> float:
        """With the log by without it."""
        with_it, without = self.throughputs
        return with_it / without


def measure(arguments: argparse.Namespace, work: Path) -> dict[str, list[Round]]:
    """All rounds of each way to ask; both servers live from the first to the last."""
    plain = slipway(arguments.variant)
    flags = (f"--prediction_log={work / _LOG}",)
    logged = replace(plain, network=f"{plain.network} logged", command=(*plain.command, *flags))
    results: dict[str, list[Round]] = {kind: [] for kind in _KINDS}
    with ExitStack() as stack:
        servers = {server.key: _started(stack, server, work) for server in (logged, plain)}
        for number in range(arguments.rounds):
            order = (logged.key, plain.key) if number % 2 else (plain.key, logged.key)
            for kind in _KINDS:
                found: dict[str, list[Figures]] = {key: [] for key in order}
                for key in (*order, *reversed(order)):
                    found[key].append(_asked(servers[key], kind, work, arguments.seconds))
                results[kind].append(Round(found[logged.key], found[plain.key]))
                said = results[kind][-1]
                print(f"round {number}, {kind}: {said.ratio:.3f}", file=sys.stderr, flush=True)
    return results


def _started(stack: ExitStack, server: Server, work: Path) -> Running:
    ask = server.asks[0]
    first = ((material.bodies(work, ask) / "000").read_bytes(), ask.kind)
    return stack.enter_context(running(server, own_environment(), work, first))


def _asked(one: Running, kind: str, work: Path, seconds: float) -> Figures:
    ask = next(ask for ask in one.server.asks if ask.kind == kind)
    time.sleep(_REST_S)
    figures = run_load(Load(one.url(kind), material.bodies(work, ask), CLIENTS, seconds=seconds, warmup_s=0.2))
    if figures.failures:
        raise SystemExit(f"{one.server.key}, {kind}: answers that are not good: {figures.failures}.")
    return figures


def met(rounds: Sequence[Round]) -> bool:
    """Whether the limit holds."""
    return statistics.median(each.ratio for each in rounds) >= LEAST


def page(results: Mapping[str, Sequence[Round]], arguments: argparse.Namespace, load_before: str, log: Path) -> str:
    """The measurement as a document."""
    rows = []
    for kind, rounds in results.items():
        with_it, without = zip(*(each.throughputs for each in rounds), strict=True)
        columns = (with_it, without, [each.ratio for each in rounds])
        cells = [cell for values in columns for cell in median_and_span(values)]
        rows.append(f"| {' | '.join([kind, *cells, 'yes' if met(rounds) else 'NO'])} |")
    records = read_records(log, NAME)
    answers = sum(figures.good for rounds in results.values() for each in rounds for figures in each.logged)
    return _PAGE.format(
        rounds=arguments.rounds,
        seconds=arguments.seconds,
        variant=arguments.variant,
        date=f"{datetime.now(UTC):%Y-%m-%d}",
        machine=machine(),
        load=load_before,
        clients=CLIENTS,
        rows="\n".join(rows),
        least=LEAST,
        records=f"{len(records):,}",
        examined=f"{len(records) - records['brightness'].null_count:,}",
        answers=f"{answers:,}",
    )


def main() -> None:
    """Measure, print, write the page."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=12)
    parser.add_argument("--seconds", type=float, default=5.0, help="of one measurement (default: 5)")
    parser.add_argument("--variant", default="openvino-int8")
    parser.add_argument("--workdir", type=Path, default=Path.home() / ".cache" / "slipway-benchmarks")
    parser.add_argument("--page", type=Path, default=PAGE, help="where the table goes")
    arguments = parser.parse_args()
    work = arguments.workdir.resolve()
    if not (work / material.VERSION / "saved_model.pb").exists():
        subprocess.run([sys.executable, "-m", "benchmarks.serving.network", str(work / "base")], cwd=ROOT, check=True)
    shutil.rmtree(work / _LOG, ignore_errors=True)
    load_before = load()
    results = measure(arguments, work)
    text = page(results, arguments, load_before, work / _LOG)
    print(text)
    arguments.page.write_text(text, encoding="utf-8")
    sys.exit(0 if all(met(rounds) for rounds in results.values()) else 1)


if __name__ == "__main__":
    main()
