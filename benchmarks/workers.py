"""Loss curves of one worker and of two, in one picture: `python -m benchmarks.workers --picture workers.png`.

Two networks: `plain`, without batch normalisation, whose curves must be equal, and the quickstart's ResNet50, whose
accuracy must be near. Workers are commands on this machine. A training that has finished is kept, and not run again as
long as the code is the same.
"""

import hashlib
import json
import os
import re
import socket
import subprocess
import sys
import tempfile
import time
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import click

from slipway.files import write_atomically

ROOT = Path(__file__).parents[1]
QUICKSTART = ROOT / "pipeline" / "conf" / "quickstart.yaml"
NETWORKS = {
    "plain": ("--network", "plain", "--image-size", "32", "--epochs", "4", "--batch-size", "32"),
    "resnet50": ("--config", str(QUICKSTART)),
}
TIMEOUT_S = 7200
_RUN = re.compile(r"evaluate --run-id ([0-9a-f]{32})")


@dataclass(frozen=True)
class Curve:
    """A finished training. loss, val_loss, val_accuracy: a value an epoch; took_s: with the start of the processes."""

    network: str
    workers: int
    loss: list[float]
    val_loss: list[float]
    val_accuracy: list[float]
    test_accuracy: float
    took_s: float

    @property
    def accuracy(self) -> float:
        """Of the validation and the held-out images together, which are equally many."""
        return (self.val_accuracy[-1] + self.test_accuracy) / 2


@click.command()
@click.option("--folder", default=str(Path.home() / ".cache" / "slipway-benchmarks" / "workers"), show_default=True)
@click.option("--picture", default="workers.png", show_default=True, help="Where the curves are drawn.")
def main(folder: str, picture: str) -> None:
    """Train what is not trained yet, print the table and draw the curves."""
    curves = measured(Path(folder))
    click.echo(table(curves))
    draw(curves, Path(picture))


def measured(folder: Path) -> list[Curve]:
    """Both networks by one worker and by two; each is kept in `folder`."""
    return [_kept(folder, network, workers) for network in NETWORKS for workers in (1, 2)]


def difference(curves: list[Curve], network: str, values: str = "loss") -> float:
    """The largest relative difference of two workers' values from one worker's, over the epochs."""
    one, two = (getattr(curve, values) for curve in curves if curve.network == network)
    return max(abs(b - a) / a for a, b in zip(one, two, strict=True))


def table(curves: list[Curve]) -> str:
    """A Markdown table, a line a training."""
    lines = ["| network | workers | epochs | loss | val_loss | accuracy | minutes |", "|---|---|---|---|---|---|---|"]
    lines += [
        f"| {each.network} | {each.workers} | {len(each.loss)} | {each.loss[-1]:.5f} | {each.val_loss[-1]:.5f} "
        f"| {each.accuracy:.4f} | {each.took_s / 60:.1f} |"
        for each in curves
    ]
    return "\n".join([*lines, "", f"plain: largest relative difference of a loss {difference(curves, 'plain'):.1e}"])


def draw(curves: list[Curve], file: Path) -> None:
    """The loss curves, a panel a network."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, 3.5), layout="constrained")
    networks = list(dict.fromkeys(each.network for each in curves))
    for axes, network in zip(figure.subplots(1, len(networks), squeeze=False).flat, networks, strict=True):
        for each in [each for each in curves if each.network == network]:
            epochs = range(1, len(each.loss) + 1)
            of = "1 worker" if each.workers == 1 else f"{each.workers} workers"
            style: dict[str, Any] = {"lw": 4, "alpha": 0.4} if each.workers == 1 else {"ls": "--", "marker": "."}
            axes.plot(epochs, each.loss, color="C0", label=f"training, {of}", **style)
            axes.plot(epochs, each.val_loss, color="C1", label=f"validation, {of}", **style)
        axes.set_title(network)
        axes.set_xlabel("epoch")
        axes.set_ylabel("loss")
        axes.legend()
    figure.savefig(file, dpi=120)


def _kept(folder: Path, network: str, workers: int) -> Curve:
    file = folder / f"{network}-{workers}-{_code()}.json"
    if not file.exists():
        folder.mkdir(parents=True, exist_ok=True)
        write_atomically(file, json.dumps(asdict(_train(network, workers)), indent=1).encode())
    return Curve(**json.loads(file.read_text()))


def _code() -> str:
    """What tells the code that trains from another."""
    packages = ("pipeline", "registry", "serving", "slipway")
    files = [QUICKSTART, *(file for package in packages for file in sorted((ROOT / package).rglob("*.py")))]
    return hashlib.sha256(b"".join(file.read_bytes() for file in files)).hexdigest()[:12]


def _train(network: str, workers: int) -> Curve:
    """Train in a registry of its own; by one worker with Keras' `fit`, as without `--distribute`."""
    from mlflow import MlflowClient

    with tempfile.TemporaryDirectory(prefix="slipway-workers-") as folder:
        started = time.monotonic()
        words = ("train", *NETWORKS[network], *(("--distribute",) if workers > 1 else ()))
        places = _places(workers) if workers > 1 else [{}]
        processes = [_start(Path(folder), words, place) for place in places]
        outputs = [process.communicate(timeout=TIMEOUT_S)[0] for process in processes]
        took_s = time.monotonic() - started
        found = _RUN.search(outputs[0])
        if found is None or any(process.returncode for process in processes):
            raise click.ClickException(f"{network} by {workers} ended wrong:\n" + "\n".join(outputs))
        _start(Path(folder), ("evaluate", "--run-id", found[1]), {}).communicate(timeout=TIMEOUT_S)
        client = MlflowClient(f"sqlite:///{folder}/mlflow.db")
        curves = {
            name: [point.value for point in sorted(client.get_metric_history(found[1], name), key=lambda p: p.step)]
            for name in ("loss", "val_loss", "val_accuracy", "test_accuracy")
        }
    return Curve(network, workers, took_s=took_s, **{**curves, "test_accuracy": curves["test_accuracy"][-1]})


def _places(workers: int) -> list[dict[str, str]]:
    with ExitStack() as held:
        sockets = [held.enter_context(socket.create_server(("127.0.0.1", 0))) for _ in range(workers)]
        addresses = [f"127.0.0.1:{each.getsockname()[1]}" for each in sockets]
    tasks = [{"type": "worker", "index": index} for index in range(workers)]
    return [{"TF_CONFIG": json.dumps({"cluster": {"worker": addresses}, "task": task})} for task in tasks]


def _start(folder: Path, words: tuple[str, ...], place: dict[str, str]) -> "subprocess.Popen[str]":
    return subprocess.Popen(
        [sys.executable, "-m", "pipeline", *words],
        env={**os.environ, **place, "PYTHONPATH": str(ROOT), "MLFLOW_TRACKING_URI": f"sqlite:///{folder}/mlflow.db"},
        cwd=folder,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


if __name__ == "__main__":
    main()
