"""From the move of an alias in MLflow's registry to the first answer of the new version, and what that is made of.

`python -m benchmarks.promotion` registers ResNet50 with its Flatten head (505 MB) several times, starts `slipway serve`
and `slipway reconcile --watch`, and moves the alias `champion` through MLflow's client, as its UI does. It prints a
table, writes docs/benchmarks/promotion.md, and exits with 1 if the limit is missed.
"""

import argparse
import base64
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from benchmarks.machine import load, machine
from benchmarks.promotion.parts import Parts, measure_parts
from benchmarks.promotion.registered import Registered
from benchmarks.serving.network import NAME
from benchmarks.serving.payloads import photographs
from pipeline.verify import free_ports
from serving.client.address import parse_address
from serving.client.http import Http
from serving.targets.embedded import CONFIG_POLL_S
from slipway.errors import SlipwayError

PAGE = Path(__file__).parents[2] / "docs" / "benchmarks" / "promotion.md"
OF_COPY_AND_HASH = 1.5
_LOOK_S = 0.02
_LONGEST_S = 300.0
_PAGE = """\
# Promotion: from the click to the first answer

`python -m benchmarks.promotion --rounds {rounds} --interval {interval:g}`, {date}, on {machine}; load averages before
it {load}.

The alias `champion` of ResNet50 with its Flatten head at 224 x 224 ({size:.0f} MB, TensorFlow's variant) is moved to a
version that is new to base path and server. Measured is the time until a request that names no version is answered by
the new one. The limit is {of_copy} times the time to copy and to hash these bytes once, both polling intervals, the
network's own load and warmup, and its golden requests once; each measured by itself in the same run, with nothing else
to do.

| what | seconds |
|---|---|
{rows}

{verdict}
"""


@dataclass(frozen=True)
class Measured:
    """Promotions, and their parts. interval_s: reconcile's."""

    taken_s: tuple[float, ...]
    parts: Parts
    interval_s: float

    @property
    def limit_s(self) -> float:
        """What a promotion may take."""
        parts = self.parts
        moved = OF_COPY_AND_HASH * (parts.copy_s + parts.hash_s)
        return moved + self.interval_s + CONFIG_POLL_S + parts.load_s + parts.golden_s

    @property
    def median_s(self) -> float:
        """Of the promotions."""
        return statistics.median(self.taken_s)

    def rows(self) -> list[tuple[str, str]]:
        """The table's."""
        parts = self.parts
        span = f"{self.median_s:.2f} ({min(self.taken_s):.2f} to {max(self.taken_s):.2f})"
        return [
            (f"copy {parts.size_bytes / 1e6:.0f} MB", f"{parts.copy_s:.2f}"),
            ("SHA-256 of them", f"{parts.hash_s:.2f}"),
            ("reconcile's interval", f"{self.interval_s:.2f}"),
            ("the server's look at its config file", f"{CONFIG_POLL_S:.2f}"),
            ("load and warmup", f"{parts.load_s:.2f}"),
            ("golden requests, over gRPC", f"{parts.golden_s:.2f}"),
            ("**limit**", f"{self.limit_s:.2f}"),
            (f"**click to first answer**, median of {len(self.taken_s)}", span),
        ]


def measure(world: Registered, rounds: int, interval_s: float) -> Measured:
    """Promote versions 2, 3, ... while server and reconciler run."""
    rest, grpc = free_ports()
    address = f"grpc://127.0.0.1:{grpc}"
    where = ("--name", NAME, "--base", str(world.base))
    watch = ("reconcile", "--watch", f"--interval={interval_s:g}", "--servers", address, *where)
    world.registry.set_alias(NAME, "champion", 1)
    with (
        world.command("serve", f"--rest-port={rest}", f"--grpc-port={grpc}", *where, log=world.folder / "serve.log"),
        world.command(*watch, log=world.folder / "reconcile.log"),
    ):
        asker = _Asker(rest)
        asker.wait_for(1)
        taken = []
        for version in range(2, rounds + 2):
            time.sleep(interval_s * (1 + version / (rounds + 2)))  # at another moment of the interval each time
            began = time.perf_counter()
            world.registry.set_alias(NAME, "champion", version)
            asker.wait_for(version)
            taken.append(time.perf_counter() - began)
            print(f"version {version}: {taken[-1]:.2f} s", file=sys.stderr)
        time.sleep(2 * interval_s + 2)
        return Measured(tuple(taken), measure_parts(world, rounds + 1, address), interval_s)


class _Asker:
    """Asks a server which version is live, and then one picture."""

    def __init__(self, port: int) -> None:
        self._http = Http(parse_address(f"http://127.0.0.1:{port}"), 60.0)
        picture = base64.b64encode(photographs(1)[0]).decode()
        self._request = {"signature_name": "serving_bytes", "instances": [{"image_bytes": {"b64": picture}}]}

    def wait_for(self, version: int) -> None:
        """Return when a prediction was answered by that version."""
        _wait(lambda: self._live() == version)
        response = self._http.post(f"/v1/models/{NAME}:predict", self._request)
        assert (response.status, response.headers["x-slipway-version"]) == (200, str(version)), response

    def _live(self) -> int | None:
        try:
            response = self._http.get(f"/v1/models/{NAME}/labels/stable")
        except SlipwayError:
            return None  # it is starting
        if response.status != 200:
            return None
        return int(response.document["model_version_status"][0]["version"])


def _wait(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + _LONGEST_S
    while not condition():
        if time.monotonic() > deadline:
            raise TimeoutError(f"not within {_LONGEST_S:g} s: look at serve.log and reconcile.log")
        time.sleep(_LOOK_S)


def page(measured: Measured, load_before: str) -> str:
    """The measurement as a document."""
    met = measured.median_s <= measured.limit_s
    return _PAGE.format(
        rounds=len(measured.taken_s),
        interval=measured.interval_s,
        date=f"{datetime.now(UTC):%Y-%m-%d}",
        machine=machine(),
        load=load_before,
        size=measured.parts.size_bytes / 1e6,
        of_copy=OF_COPY_AND_HASH,
        rows="\n".join(f"| {what} | {seconds} |" for what, seconds in measured.rows()),
        verdict="The median is within the limit." if met else "The median is NOT within the limit.",
    )


def main() -> None:
    """Measure, print, write the page."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5, help="promotions (default: 5)")
    parser.add_argument("--interval", type=float, default=1.0, help="reconcile's, in seconds (default: 1)")
    arguments = parser.parse_args()
    load_before = load()
    with tempfile.TemporaryDirectory(prefix="slipway-promotion-") as scratch:
        world = Registered(Path(scratch))
        world.make(arguments.rounds + 1, head="flatten")
        measured = measure(world, arguments.rounds, arguments.interval)
    text = page(measured, load_before)
    print(text)
    PAGE.write_text(text, encoding="utf-8")
    sys.exit(0 if measured.median_s <= measured.limit_s else 1)


if __name__ == "__main__":
    main()
