"""Held-out accuracy of the quickstart's configuration over several seeds: `python -m benchmarks.seeds --seeds 5`.

Each seed is a whole `main` in a registry of its own. A seed that has finished is kept in `--state` and not run again.
"""

import json
import os
import platform
import re
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import click

ROOT = Path(__file__).parents[1]
CONFIG = ROOT / "pipeline" / "conf" / "quickstart.yaml"
PAGE = ROOT / "docs" / "seeds.md"
STATE = Path.home() / ".cache" / "slipway-benchmarks" / "seeds.json"
_RESULT = re.compile(r"run\s+(?P<run>[0-9a-f]{32})\s+\((?P<parameters>[\d,]+) parameters\)")
_ACCURACY = re.compile(r"accuracy\s+(?P<accuracy>[\d.]+) on (?P<images>\d+) held-out images")


@click.command()
@click.option("--seeds", default=5, show_default=True, help="Seeds 0 to this, exclusive.")
@click.option("--state", default=str(STATE), show_default=True, help="Where finished seeds are kept.")
def main(seeds: int, state: str) -> None:
    """Train and evaluate each seed, print the table and write docs/seeds.md."""
    kept = Path(state)
    results: dict[str, dict[str, str]] = json.loads(kept.read_text()) if kept.exists() else {}
    for seed in range(seeds):
        if str(seed) not in results:
            results[str(seed)] = run_seed(seed)
            kept.parent.mkdir(parents=True, exist_ok=True)
            kept.write_text(json.dumps(results))
    PAGE.write_text(page(results), encoding="utf-8")
    click.echo(table(results))


def run_seed(seed: int) -> dict[str, str]:
    """One `main` with the quickstart's configuration and this seed; what it printed of itself."""
    with tempfile.TemporaryDirectory(prefix="slipway-seed-") as folder:
        started = time.monotonic()
        done = subprocess.run(
            [sys.executable, "-m", "pipeline", "main", "--config", str(CONFIG), "--seed", str(seed)],
            env={**os.environ, "PYTHONPATH": str(ROOT), "MLFLOW_TRACKING_URI": f"sqlite:///{folder}/mlflow.db"},
            cwd=folder,
            stdout=subprocess.PIPE,
            text=True,
            check=False,
        )
        took_s = time.monotonic() - started
    found, measured = _RESULT.search(done.stdout), _ACCURACY.search(done.stdout)
    if found is None or measured is None:
        raise click.ClickException(f"seed {seed} ended with exit code {done.returncode}:\n{done.stdout}")
    verdict = "live" if done.returncode == 0 else "refused"
    return {**found.groupdict(), **measured.groupdict(), "minutes": f"{took_s / 60:.1f}", "verdict": verdict}


def table(results: dict[str, dict[str, str]]) -> str:
    """A Markdown table, a line a seed, with the mean below."""
    lines = ["| seed | accuracy | images | parameters | gate | minutes |", "|---|---|---|---|---|---|"]
    lines += [
        f"| {seed} | {of['accuracy']} | {of['images']} | {of['parameters']} | {of['verdict']} | {of['minutes']} |"
        for seed, of in sorted(results.items())
    ]
    mean = sum(float(of["accuracy"]) for of in results.values()) / len(results)
    return "\n".join([*lines, f"| mean | {mean:.4f} | | | | |"])


def page(results: dict[str, dict[str, str]]) -> str:
    """docs/seeds.md."""
    return f"""# Five seeds

The quickstart's configuration (`pipeline/conf/quickstart.yaml`: ResNet50 on the digits at 32 x 32), each seed a whole
`main` in a registry of its own. The seed sets the first weights, the order of the images and their shifts; the split
stays.

{table(results)}

Made by `python -m benchmarks.seeds --seeds {len(results)}` on {_processor()}, {os.cpu_count()} cores.
The minutes are those of a machine that was doing other work as well.
"""


def _processor() -> str:
    for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


if __name__ == "__main__":
    main()
