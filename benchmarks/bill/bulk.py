"""Encoded images through a variant in one process, no server: `python -m benchmarks.bill.bulk VERSION VARIANT SECONDS`.

It prints one JSON object, `benchmarks.bill.measured.Bulk`.
"""

import json
import subprocess
import sys
import threading
import time
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import psutil

from benchmarks.bill.measured import ROOT, Bulk
from benchmarks.serving.payloads import photographs

if TYPE_CHECKING:
    from serving.model_server.runtimes import Runtime

_BATCH = 8
_LEAST_BATCHES = 2  # of a thread


def classify(version: Path, variant: str, seconds: float) -> Bulk:
    """Batches of JPEG files, as many threads as cores, for so long."""
    runtime = _open(version, variant)
    files = np.empty(2 * _BATCH, object)
    files[:] = photographs(len(files))
    batches = files[:_BATCH], files[_BATCH:]
    counts = [0] * (psutil.cpu_count() or 1)

    def work(thread: int, until_s: float) -> None:
        while time.perf_counter() < until_s or counts[thread] < _LEAST_BATCHES:
            runtime.run("serving_bytes", {"image_bytes": batches[counts[thread] % 2]}, ["output", "class_id"])
            counts[thread] += 1

    def run_threads(seconds: float) -> None:
        until_s = time.perf_counter() + seconds
        threads = [threading.Thread(target=work, args=(each, until_s)) for each in range(len(counts))]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

    run_threads(0.0)  # the first batches of each thread make what later ones find
    counts[:] = [0] * len(counts)
    process = psutil.Process()
    before, began_s = process.cpu_times(), time.perf_counter()
    run_threads(seconds)
    taken_s, after = time.perf_counter() - began_s, process.cpu_times()
    cpu_s = after.user + after.system - before.user - before.system
    images = sum(counts) * _BATCH
    rss_mb = process.memory_info().rss / 1e6
    runtime.close()
    return Bulk(images, images / taken_s, 1000 * cpu_s / images, rss_mb)


def measure(version: Path, variant: str, seconds: float) -> Bulk:
    """The same in a process of its own. RuntimeError when that fails."""
    command = [sys.executable, "-m", "benchmarks.bill.bulk", str(version), variant, str(seconds)]
    done = subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, text=True, check=False)
    if done.returncode:
        raise RuntimeError(
            f"{variant}: {' '.join(command[1:])} ended with {done.returncode}; its messages stand above."
        )
    return Bulk(**json.loads(done.stdout.splitlines()[-1]))


def _open(version: Path, variant: str) -> "Runtime":
    from serving.model_server.choosing import Chooser
    from serving.model_server.runtimes import Refined
    from serving.servable.layout import EXTRA, MANIFEST
    from serving.servable.manifest import read_manifest

    manifest = read_manifest(version / EXTRA / MANIFEST)
    (candidate,) = Chooser(variant=variant)(version, manifest)
    runtime = candidate.load(version)
    if isinstance(runtime, Refined):
        runtime.refine(lambda _: None)
    return runtime


if __name__ == "__main__":
    print(json.dumps(asdict(classify(Path(sys.argv[1]), sys.argv[2], float(sys.argv[3])))))
