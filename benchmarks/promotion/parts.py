"""What a promotion cannot do without, each by itself: copying, hashing, loading, answering the golden requests."""

import json
import shutil
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

from benchmarks.promotion.registered import Registered, hash_all
from benchmarks.serving.network import NAME
from pipeline.verify import verify_at
from serving.stores import open_store

_LOAD = """
import json, sys, time
from pathlib import Path
from serving.model_server.runtimes import open_runtime
from serving.model_server.warmup import warm_up
load, directory = open_runtime("tensorflow"), Path(sys.argv[1])
load(directory).close()  # TensorFlow's import, and what it does but once: a server that runs has done both
began = time.perf_counter()
runtime = load(directory)
warm_up(runtime, directory)
print(json.dumps(time.perf_counter() - began))
"""


@dataclass(frozen=True)
class Parts:
    """Seconds. size_bytes: of the servable."""

    size_bytes: int
    copy_s: float
    hash_s: float
    load_s: float
    golden_s: float


def measure_parts(world: Registered, version: int, address: str) -> Parts:
    """Of a published version that the server at the gRPC `address` has loaded, while it has nothing else to do."""
    source = world.artifacts(version)
    copy = world.folder / "copy"
    began = time.perf_counter()
    shutil.copytree(source, copy)
    copied = time.perf_counter()
    size_bytes = hash_all(copy)
    hashed = time.perf_counter()
    shutil.rmtree(copy)
    asked = verify_at(address, world.registry.version(NAME, version), open_store(str(world.base)))
    return Parts(size_bytes, copied - began, hashed - copied, _load_s(world.base / NAME / str(version)), asked.took_s)


def _load_s(directory: Path) -> float:
    done = subprocess.run([sys.executable, "-c", _LOAD, str(directory)], capture_output=True, text=True, check=True)
    return float(json.loads(done.stdout))
