"""The process that one variant runs in while it is measured: DIRECTORY VARIANT HEIGHT WIDTH CLASSES MAX_PIXELS.

Each line on standard input is a JSON object, `do` and its arguments; each line on standard output the JSON answer.
"""

import json
import os
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from serving.model_server.runtimes import Runtime

_SIDE_BY_SIDE = 2  # requests at once when throughput is measured


def main() -> None:
    """Load the variant, say what that cost, and answer commands until standard input ends."""
    directory, variant, *numbers = sys.argv[1:]
    replies = os.fdopen(os.dup(1), "w", encoding="utf-8", buffering=1)
    os.dup2(2, 1)  # what libraries print must not come between the answers
    before_bytes = _resident_bytes()
    started = time.perf_counter()
    runtime = _load(Path(directory), variant, [int(number) for number in numbers])
    replies.write(json.dumps({"load_s": time.perf_counter() - started}) + "\n")
    commands: dict[str, Callable[..., Any]] = {
        "answer": lambda **files: _answer(runtime, **files),
        "golden": lambda **files: _golden(runtime, **files),
        "alone": lambda **how: _alone(runtime, **how),
        "together": lambda **how: _together(runtime, **how),
        "memory": lambda: {"memory_bytes": _resident_bytes() - before_bytes},
    }
    for line in sys.stdin:
        command = json.loads(line)
        replies.write(json.dumps(commands[command.pop("do")](**command)) + "\n")
    runtime.close()


def _load(directory: Path, variant: str, numbers: list[int]) -> Runtime:
    from serving.model_server.runtimes import Refined, open_runtime, runtime_of
    from serving.model_server.runtimes.classifier import open_variant
    from serving.servable.layout import REFERENCE_VARIANT
    from serving.servable.manifest import Manifest

    runtime = runtime_of(variant)
    if runtime is None:
        raise LookupError(f"no runtime executes {variant}")
    if variant == REFERENCE_VARIANT:
        return open_runtime(runtime)(directory)
    height, width, classes, max_pixels = numbers
    manifest = Manifest("", "", "", (height, width), classes, {}, {}, {}, max_pixels)
    classifier = open_variant(runtime, variant, manifest)(directory)
    if isinstance(classifier, Refined):
        classifier.refine(lambda _: None)  # what comes of it answers the images that are measured
    return classifier


def _answer(runtime: Runtime, pixels: str, output: str) -> dict[str, Any]:
    """The probabilities of the images in the file `pixels`, float32 [N, H, W, 3], into the file `output`."""
    np.save(output, _probabilities(runtime, np.load(pixels)))
    return {}


def _golden(runtime: Runtime, golden: str, output: str, batch_size: int) -> dict[str, Any]:
    """The answers to the golden requests in the folder `golden`, so many at a time, into the file `output`."""
    from serving.servable.golden import load_golden

    requests = load_golden(Path(golden))
    encoded = np.empty(len(requests.encoded), object)
    encoded[:] = requests.encoded
    answers = {
        key: np.concatenate(
            [
                runtime.run(signature, {name: rows[start : start + batch_size]}, ["output"])["output"]
                for start in range(0, len(rows), batch_size)
            ]
        )
        for key, signature, name, rows in (
            ("pixels_output", "serving_default", "input", requests.pixels.astype(np.float32)),
            ("encoded_output", "serving_bytes", "image_bytes", encoded),
        )
    }
    np.savez(output, allow_pickle=False, **answers)
    return {}


def _alone(runtime: Runtime, pixels: str, seconds: float) -> dict[str, Any]:
    """Milliseconds of single images, one after the other."""
    images = np.load(pixels)
    return {"latencies_ms": _repeat(runtime, images, time.perf_counter() + seconds)}


def _together(runtime: Runtime, pixels: str, seconds: float) -> dict[str, Any]:
    """How many single images were answered by threads beside each other, and in how long."""
    images = np.load(pixels)
    started = time.perf_counter()
    with ThreadPoolExecutor(_SIDE_BY_SIDE) as threads:
        taken = list(threads.map(lambda _: _repeat(runtime, images, started + seconds), range(_SIDE_BY_SIDE)))
    return {"images": sum(map(len, taken)), "seconds": time.perf_counter() - started}


def _repeat(runtime: Runtime, images: npt.NDArray[Any], until: float) -> list[float]:
    taken_ms: list[float] = []
    while not taken_ms or time.perf_counter() < until:
        place = len(taken_ms) % len(images)
        started = time.perf_counter()
        _probabilities(runtime, images[place : place + 1])
        taken_ms.append((time.perf_counter() - started) * 1000)
    return taken_ms


def _probabilities(runtime: Runtime, pixels: npt.NDArray[Any]) -> npt.NDArray[Any]:
    return runtime.run("serving_default", {"input": pixels}, ["output"])["output"]


def _resident_bytes() -> int:
    pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")


if __name__ == "__main__":
    main()
