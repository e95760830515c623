"""How long nothing answers while `mlflow models serve` is started anew for another version, as reconcile does it.

`python -m benchmarks.scoring_server` prints a table and writes docs/benchmarks/scoring-server.md.
"""

import argparse
import contextlib
import re
import statistics
import sys
import tempfile
import threading
import time
from datetime import UTC, datetime
from pathlib import Path

from benchmarks.machine import load, machine
from benchmarks.serving.network import CLASSES, as_files, photographs, random_network
from benchmarks.serving.running import free_port
from pipeline.package import log_model
from pipeline.reconcile.scoring_server import ScoringAddress, ScoringServer
from pipeline.reconcile.serving import Waiting
from pipeline.serve import fetched_model
from registry.client import NewVersion, Registry
from registry.register import MANIFEST_DIGEST, MODEL_DIGEST
from serving.client.address import parse_address
from serving.client.http import Http
from serving.servable.build import Examples, Provenance, build_servable
from serving.servable.golden import LEAST_REQUESTS
from slipway.errors import UnavailableError
from slipway.tensorflow_start import start_tensorflow

PAGE = Path(__file__).parents[1] / "docs" / "benchmarks" / "scoring-server.md"
NAME = "resnet50"
_PAGE = """\
# `mlflow models serve` started anew: how long nothing answers

`python -m benchmarks.scoring_server --rounds {rounds}`, {date}, on {machine}; load averages before it {load}.

ResNet50, 224 x 224, average pooling, served by MLflow's scoring server. Each round puts the other of two versions in
its place on the same port, as `slipway reconcile --watch --target mlflow` does once a version has answered its golden
requests. A client asks `/ping` all the while, {ping_ms:.0f} ms after each answer or refusal.

| | median, s | smallest | largest |
|---|---|---|---|
| without an answer, as `reconcile` says it | {said} |
| without an answer, as the client sees it | {seen} |
"""
_PING_S = 0.05
_START_S = 300.0


def register(registry: Registry, folder: Path) -> None:
    """Two versions of one network: what differs between them changes no time."""
    import mlflow

    start_tensorflow()
    images = photographs(LEAST_REQUESTS)
    network = random_network(images)
    examples = Examples(as_files(images, folder / "pictures"))
    client = mlflow.MlflowClient()
    experiment = client.create_experiment("benchmark", artifact_location=(folder / "artifacts").as_uri())
    for number in (1, 2):
        run_id = client.create_run(experiment).info.run_id
        servable = build_servable(
            network, CLASSES, examples, Provenance(run_id, "none", "none"), folder / f"servable-{number}"
        )
        logged = log_model(network, servable.directory, run_id)
        tags = {MANIFEST_DIGEST: servable.manifest_digest, MODEL_DIGEST: logged.digest}
        registry.create_version(NewVersion(NAME, logged.uri, run_id, tags, ""))


class Client(threading.Thread):
    """Asks `/ping` again and again; `outage_s` is the longest time from an answer to the next one."""

    def __init__(self, url: str) -> None:
        super().__init__(daemon=True)
        self.outage_s = 0.0
        self._url = url
        self._ended = threading.Event()

    def run(self) -> None:
        """See Thread."""
        answered = time.monotonic()
        while not self._ended.wait(_PING_S):
            try:
                with Http(parse_address(self._url), 10.0) as http:
                    http.get("/ping")
            except UnavailableError:
                continue
            self.outage_s = max(self.outage_s, time.monotonic() - answered)
            answered = time.monotonic()

    def end(self) -> float:
        """Stop asking; the longest outage, in seconds."""
        time.sleep(3 * _PING_S)
        self._ended.set()
        self.join()
        return self.outage_s


def measure(registry: Registry, folder: Path, rounds: int) -> tuple[list[float], list[float]]:
    """Seconds without an answer in each round: as said, and as seen."""
    said: list[str] = []
    address = ScoringAddress(NAME, "127.0.0.1", free_port(), folder / "serve.log")
    stated, seen = [], []
    with contextlib.closing(ScoringServer(address, registry, fetched_model, said.append)) as server:
        server.keep_serving(1)
        for number in range(rounds):
            client = Client(address.url)
            client.start()
            version = registry.version(NAME, 1 + (number + 1) % 2)
            server.await_live(version, Waiting(_START_S, lambda: None))
            seen.append(client.end())
            found = re.search(r"nothing answered for ([\d.]+) s", said[-1])
            assert found, said[-1]
            stated.append(float(found[1]))
            print(f"round {number + 1}: {said[-1]}; the client waited {seen[-1]:.1f} s", file=sys.stderr)
    return stated, seen


def _row(values: list[float]) -> str:
    return f"{statistics.median(values):.1f} | {min(values):.1f} | {max(values):.1f}"


def main() -> None:
    """Measure, print, write the page."""
    import mlflow

    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5, help="changes of version (default: 5)")
    rounds = parser.parse_args().rounds
    load_before = load()
    with tempfile.TemporaryDirectory(prefix="slipway-scoring-") as scratch:
        folder = Path(scratch)
        mlflow.set_tracking_uri(f"sqlite:///{folder}/mlflow.db")
        registry = Registry()
        register(registry, folder)
        said, seen = measure(registry, folder, rounds)
    text = _PAGE.format(
        rounds=rounds,
        date=f"{datetime.now(UTC):%Y-%m-%d}",
        machine=machine(),
        load=load_before,
        ping_ms=_PING_S * 1000,
        said=_row(said),
        seen=_row(seen),
    )
    print(text)
    PAGE.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
