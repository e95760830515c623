"""The quickstart with several seeds: how good is it, and how much of that is luck?

`python -m benchmarks.seeds --seeds 5` runs `main` once a seed, each in a registry of its own that is removed
afterwards. Finished seeds are kept in .slipway/seeds.json, and are not run again while the configuration is the same;
the table goes to docs/seeds.md.
"""

import argparse
import json
import os
import re
import subprocess
import sys
import tempfile
import time
from dataclasses import asdict, dataclass
from pathlib import Path

from benchmarks.machine import machine
from pipeline.provenance import git_commit
from slipway.files import sha256_file, write_atomically

ROOT = Path(__file__).parents[1]
CONFIG = ROOT / "pipeline" / "conf" / "quickstart.yaml"
STATE = ROOT / ".slipway" / "seeds.json"
PAGE = ROOT / "docs" / "seeds.md"
_WANTED = 0.95
_REFUSED = 3
_PAGE = """\
# The quickstart's accuracy over seeds

`python -m benchmarks.seeds --seeds {count}`, on {machine}.

Each line is one `slipway main --config pipeline/conf/quickstart.yaml --seed N` in an empty registry. The seed decides
the network's first weights and the order of the images; the split is the same for all. The accuracy is that on the
held-out test split.

| seed | test accuracy | wrong | validation accuracy | parameters | gate | seconds | commit |
|---|---|---|---|---|---|---|---|
{rows}

Mean {mean:.4f}, smallest {smallest:.4f}, largest {largest:.4f}; at least {wanted} in {reached} of {count}.
"""


@dataclass(frozen=True)
class Seed:
    """One `main`: held-out accuracy on `images` pictures, the network's parameters, and how long it took."""

    seed: int
    accuracy: float
    validation_accuracy: float
    images: int
    parameters: int
    gate: str
    seconds: float
    commit: str

    def row(self) -> str:
        """A line of the table."""
        wrong = round((1 - self.accuracy) * self.images)
        return (
            f"| {self.seed} | {self.accuracy:.4f} | {wrong} of {self.images} | {self.validation_accuracy:.4f} | "
            f"{self.parameters:,} | {self.gate} | {self.seconds:.0f} | `{self.commit[:12]}` |"
        )


def run(seed: int) -> Seed:
    """Run `main` with `seed` in a registry of its own; RuntimeError with its output if it fails."""
    with tempfile.TemporaryDirectory(prefix="slipway-seed-") as folder:
        environment = {
            **os.environ,
            "MLFLOW_TRACKING_URI": f"sqlite:///{folder}/mlflow.db",
            "SLIPWAY_DATABASE_URL": f"sqlite:///{folder}/slipway.db",
            "PYTHONPATH": str(ROOT),
        }
        command = [sys.executable, "-m", "pipeline", "main", "--config", str(CONFIG), "--seed", str(seed)]
        started = time.monotonic()
        done = subprocess.run(command, cwd=folder, env=environment, stdout=subprocess.PIPE, text=True, check=False)
        seconds = time.monotonic() - started
        if done.returncode not in (0, _REFUSED):
            raise RuntimeError(f"seed {seed}: `{' '.join(command)}` ended with {done.returncode}\n{done.stdout}")
        return _measured(seed, done.stdout, environment["MLFLOW_TRACKING_URI"], seconds)


def page(seeds: list[Seed]) -> str:
    """The table as a document."""
    accuracies = [each.accuracy for each in seeds]
    return _PAGE.format(
        count=len(seeds),
        machine=machine(),
        rows="\n".join(each.row() for each in seeds),
        mean=sum(accuracies) / len(accuracies),
        smallest=min(accuracies),
        largest=max(accuracies),
        wanted=_WANTED,
        reached=sum(accuracy >= _WANTED for accuracy in accuracies),
    )


def _measured(seed: int, output: str, tracking_uri: str, seconds: float) -> Seed:
    from mlflow import MlflowClient

    said = re.search(
        r"^run +([0-9a-f]{32}).*^version +(\S+) version (\d+).*^accuracy .* on (\d+) held-out images",
        output,
        re.MULTILINE | re.DOTALL,
    )
    assert said is not None, output
    run_id, name, version, images = said.groups()
    client = MlflowClient(tracking_uri)
    data = client.get_run(run_id).data
    return Seed(
        seed=seed,
        accuracy=data.metrics["test_accuracy"],
        validation_accuracy=data.metrics["val_accuracy"],
        images=int(images),
        parameters=int(data.params["parameters"]),
        gate=client.get_model_version(name, version).tags["slipway.gate"],
        seconds=seconds,
        commit=git_commit(),
    )


def _finished(digest: str) -> dict[int, Seed]:
    if not STATE.exists():
        return {}
    state = json.loads(STATE.read_text(encoding="utf-8"))
    return {each["seed"]: Seed(**each) for each in state["seeds"]} if state["config"] == digest else {}


def main() -> None:
    """Run the seeds that are missing, print a line for each, write the page."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=5, help="seeds 0 to N - 1 (default: 5)")
    count = parser.parse_args().seeds
    digest = sha256_file(CONFIG)
    done = _finished(digest)
    for seed in range(count):
        if seed not in done:
            done[seed] = run(seed)
            state = {"config": digest, "seeds": [asdict(each) for _, each in sorted(done.items())]}
            STATE.parent.mkdir(exist_ok=True)
            write_atomically(STATE, json.dumps(state, indent=1).encode())
        print(done[seed].row(), flush=True)
    PAGE.write_text(page([done[seed] for seed in range(count)]), encoding="utf-8")


if __name__ == "__main__":
    main()
