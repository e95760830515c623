"""Publication to S3 and the sync sidecar beside `aws s3 cp --recursive` of the same files, to and from the same server.

`python -m benchmarks.s3 --endpoint http://127.0.0.1:8000` with the usual AWS credentials prints a table, writes
docs/benchmarks/s3.md, and exits with 1 if one of ours is slower than the limit. The network and the AWS command line
are kept in `--workdir`.
"""

import argparse
import os
import shutil
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from benchmarks.figures import median_and_span
from benchmarks.machine import load, machine
from benchmarks.serving.environments import Environment, install
from benchmarks.serving.network import NAME, build_network_servable
from serving.servable.layout import MANIFEST
from serving.servable.manifest import read_manifest
from slipway.files import sha256_file

PAGE = Path(__file__).parents[2] / "docs" / "benchmarks" / "s3.md"
LEAST = 0.8  # of the throughput of the AWS command line
_BUCKET = "slipway-benchmark"
_PAGE = """\
# S3: publication and sync beside `aws s3 cp --recursive`

`python -m benchmarks.s3 --rounds {rounds}`, {date}, on {machine}, {aws}; load averages before it {load}. The server,
{server}, ran on the same machine.

Each is a process of its own, from its start to its end, of the same files: ResNet50 with its Flatten head at 224 x 224
({size:.0f} MB in {files} files). Ours fetches the servable from a local disk, verifies each file by its digest, and
publishes it, `saved_model.pb` last; the sidecar fetches the version, verifies it, makes it durable and has it appear by
a rename. `aws s3 cp` does none of this. They take turns, in another order every round, after a first one that does not
count. The ratio of a round is our throughput by that of `aws s3 cp`.

| what | ours, s | span | `aws s3 cp`, s | span | ratio, median | span | met |
|---|---|---|---|---|---|---|---|
{rows}

Met: a median ratio of {least} at least.
"""


@dataclass(frozen=True)
class Material:
    """The files, the programs, and where they go."""

    servable: Path
    digest: str
    scratch: Path
    aws: Environment

    @property
    def size_bytes(self) -> int:
        """Of all files."""
        return read_manifest(self.servable / MANIFEST).size_bytes

    @property
    def files(self) -> int:
        """How many there are, the manifest among them."""
        return len(read_manifest(self.servable / MANIFEST).files) + 1


@dataclass(frozen=True)
class Round:
    """Seconds."""

    ours_s: float
    aws_s: float

    @property
    def ratio(self) -> float:
        """Our throughput by that of the AWS command line."""
        return self.aws_s / self.ours_s


def make_material(work: Path) -> Material:
    """Build the network and install the AWS command line, unless both are there."""
    servable = work / "flatten" / "servable"
    if not (servable / MANIFEST).exists():
        shutil.rmtree(servable.parent, ignore_errors=True)
        servable.parent.mkdir(parents=True)
        build_network_servable(servable.parent, (), "flatten")
    scratch = work / "s3"
    shutil.rmtree(scratch, ignore_errors=True)
    scratch.mkdir()
    return Material(servable, sha256_file(servable / MANIFEST), scratch, install("aws", work / "environments"))


def measure(material: Material, rounds: int) -> dict[str, list[Round]]:
    """Up and down, by both, in turns."""
    results: dict[str, list[Round]] = {"publication": [], "sync": []}
    for number in range(rounds + 1):
        base, copy = f"s3://{_BUCKET}/base-{number}", f"s3://{_BUCKET}/copy-{number}"
        mirror, fetched = material.scratch / "mirror", material.scratch / "fetched"
        publish = (sys.executable, "-m", "benchmarks.s3.publish", str(material.servable), base, NAME, "1")
        sync = (sys.executable, "-m", "serving.sync", "--once", "--from", base, "--to", str(mirror))
        with _removed_after(material, base, copy, mirror, fetched):
            mirror.mkdir()
            up = _in_turns(
                number,
                lambda ours=(*publish, material.digest): _run(*ours),
                lambda to=copy: _aws(material, "cp", "--recursive", str(material.servable), to),
            )
            down = _in_turns(
                number,
                lambda ours=sync: _run(*ours),
                lambda from_=copy, to=str(fetched): _aws(material, "cp", "--recursive", from_, to),
            )
        for what, each in (("publication", up), ("sync", down)):
            print(f"round {number}, {what}: {each.ours_s:.2f} s, aws s3 cp {each.aws_s:.2f} s", file=sys.stderr)
            if number:
                results[what].append(each)
    return results


def _in_turns(number: int, ours: Callable[[], None], aws: Callable[[], None]) -> Round:
    both = (ours, aws)
    taken = {index: _timed(both[index]) for index in ((0, 1) if number % 2 else (1, 0))}
    return Round(taken[0], taken[1])


def _timed(work: Callable[[], None]) -> float:
    os.sync()  # what the one before has not written yet is not ours to wait for
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


@contextmanager
def _removed_after(material: Material, base: str, copy: str, *directories: Path) -> Iterator[None]:
    """Nothing is there, neither of a run that was stopped, nor after the block."""

    def remove() -> None:
        for place in (base, copy):
            _aws(material, "rm", "--recursive", place)
        for directory in directories:
            shutil.rmtree(directory, ignore_errors=True)

    remove()
    try:
        yield
    finally:
        remove()


def _aws(material: Material, *words: str) -> None:
    _run(str(material.aws.bin / "aws"), "s3", words[0], "--only-show-errors", *words[1:])


def _run(*command: str) -> None:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"{' '.join(command)} ended with {done.returncode}:\n{done.stdout}{done.stderr}")


def met(rounds: Sequence[Round]) -> bool:
    """Whether the limit holds."""
    return statistics.median(each.ratio for each in rounds) >= LEAST


def page(results: dict[str, list[Round]], material: Material, server: str, load_before: str) -> str:
    """The measurement as a document."""
    rows = []
    for what, rounds in results.items():
        columns = ([each.ours_s for each in rounds], [each.aws_s for each in rounds], [each.ratio for each in rounds])
        cells = [cell for values in columns for cell in median_and_span(values)]
        rows.append(f"| {' | '.join([what, *cells, 'yes' if met(rounds) else 'NO'])} |")
    return _PAGE.format(
        rounds=len(results["sync"]),
        date=f"{datetime.now(UTC):%Y-%m-%d}",
        machine=machine(),
        aws=", ".join(material.aws.versions),
        load=load_before,
        server=server,
        size=material.size_bytes / 1e6,
        files=material.files,
        rows="\n".join(rows),
        least=LEAST,
    )


def main() -> None:
    """Measure, print, write the page."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--endpoint", required=True, help="the S3 server's address")
    parser.add_argument("--server", default="Ceph RGW", help="what it is, for the page (default: Ceph RGW)")
    parser.add_argument("--rounds", type=int, default=5, help="that count (default: 5)")
    parser.add_argument("--workdir", type=Path, default=Path.home() / ".cache" / "slipway-benchmarks")
    parser.add_argument("--page", type=Path, default=PAGE, help="where the table goes")
    arguments = parser.parse_args()
    os.environ |= {"AWS_ENDPOINT_URL_S3": arguments.endpoint, "AWS_ENDPOINT_URL": arguments.endpoint}
    os.environ.setdefault("AWS_DEFAULT_REGION", "us-east-1")
    load_before = load()
    material = make_material(arguments.workdir.resolve())
    subprocess.run(
        [str(material.aws.bin / "aws"), "s3", "mb", f"s3://{_BUCKET}"], capture_output=True, check=False
    )  # it may be there
    results = measure(material, arguments.rounds)
    text = page(results, material, arguments.server, load_before)
    print(text)
    arguments.page.write_text(text, encoding="utf-8")
    sys.exit(0 if all(met(rounds) for rounds in results.values()) else 1)


if __name__ == "__main__":
    main()
