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
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from benchmarks.figures import median_and_span
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
_LOOK_S = 0.05
_LONGEST_S = 300.0
_PAGE = """\
# Promotion: from the click to the first answer

`python -m benchmarks.promotion --rounds {rounds} --interval {interval:g}`, {date}, on {machine}; load averages before
it {load}.

The alias `champion` of ResNet50 with its Flatten head at 224 x 224 ({size:.0f} MB, TensorFlow's variant) is moved to a
version that is new to base path and server. Measured is the time until a request that names no version is answered by
the new one. The limit is {of_copy} times the time to copy and to hash these bytes once, both polling intervals, the
network's own load and warmup, and its golden requests once. Each part is measured by itself after every promotion, with
nothing else to do, so that a machine that is slower for a while is so for both. Medians, and the span of the rounds.

| what | seconds, median | span |
|---|---|---|
{rows}

{verdict}
"""


@dataclass(frozen=True)
class Round:
    """A promotion, and what it cannot do without. interval_s: reconcile's."""

    taken_s: float
    parts: Parts
    interval_s: float

    @property
    def limit_s(self) -> float:
        """What the promotion may take."""
        parts = self.parts
        moved = OF_COPY_AND_HASH * (parts.copy_s + parts.hash_s)
        return moved + self.interval_s + CONFIG_POLL_S + parts.load_s + parts.golden_s

    @property
    def share(self) -> float:
        """Of the limit that was taken."""
        return self.taken_s / self.limit_s


def table(rounds: Sequence[Round]) -> list[tuple[str, str, str]]:
    """The page's rows: what, median, span."""
    columns: list[tuple[str, Callable[[Round], float]]] = [
        (f"copy {rounds[0].parts.size_bytes / 1e6:.0f} MB", lambda each: each.parts.copy_s),
        ("SHA-256 of them", lambda each: each.parts.hash_s),
        ("reconcile's interval", lambda each: each.interval_s),
        ("the server's look at its config file", lambda _each: CONFIG_POLL_S),
        ("load and warmup", lambda each: each.parts.load_s),
        ("golden requests, over gRPC", lambda each: each.parts.golden_s),
        ("**limit**", lambda each: each.limit_s),
        ("**click to first answer**", lambda each: each.taken_s),
        ("**of the limit**", lambda each: each.share),
    ]
    return [(what, *median_and_span([value(each) for each in rounds])) for what, value in columns]


def measure(world: Registered, rounds: int, interval_s: float) -> tuple[Round, ...]:
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
        measured = []
        for version in range(2, rounds + 2):
            time.sleep(2 + interval_s * version / (rounds + 2))  # at another moment of the interval each time
            began = time.perf_counter()
            world.registry.set_alias(NAME, "champion", version)
            asker.wait_for(version)
            taken_s = time.perf_counter() - began
            time.sleep(2 * interval_s + 2)
            measured.append(Round(taken_s, measure_parts(world, version, address), interval_s))
            print(f"version {version}: {taken_s:.2f} s of {measured[-1].limit_s:.2f} s", file=sys.stderr)
        return tuple(measured)


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


def page(rounds: Sequence[Round], load_before: str) -> str:
    """The measurement as a document."""
    return _PAGE.format(
        rounds=len(rounds),
        interval=rounds[0].interval_s,
        date=f"{datetime.now(UTC):%Y-%m-%d}",
        machine=machine(),
        load=load_before,
        size=rounds[0].parts.size_bytes / 1e6,
        of_copy=OF_COPY_AND_HASH,
        rows="\n".join(f"| {' | '.join(row)} |" for row in table(rounds)),
        verdict=_verdict(rounds),
    )


def _verdict(rounds: Sequence[Round]) -> str:
    above = sum(each.share > 1 for each in rounds)
    met = "within" if within(rounds) else "NOT within"
    return f"The median round is {met} its own limit; {above} of {len(rounds)} rounds were above theirs."


def within(rounds: Sequence[Round]) -> bool:
    """Whether at least half of the promotions took no more than their limit."""
    return statistics.median(each.share for each in rounds) <= 1


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
        rounds = measure(world, arguments.rounds, arguments.interval)
    text = page(rounds, load_before)
    print(text)
    PAGE.write_text(text, encoding="utf-8")
    sys.exit(0 if within(rounds) else 1)


if __name__ == "__main__":
    main()
