"""Sealed bundles of random bytes, and commands that use a store: what stores move, without what is in it."""

import random
import shutil
import sys
from pathlib import Path

from serving.servable.manifest import VariantRecord, seal
from serving.stores import Bundle, open_store
from slipway.errors import SlipwayError


def make_bundle(directory: Path, size_bytes: int = 20_000, seed: int = 0) -> str:
    """Write a bundle of about `size_bytes` below `directory`, and return its manifest's digest."""
    rng = random.Random(seed)
    for path, share in {
        "saved_model/saved_model.pb": 0.02,
        "saved_model/variables/variables.index": 0.01,
        "saved_model/variables/variables.data-00000-of-00001": 0.9,
        "saved_model/assets.extra/tf_serving_warmup_requests": 0.02,
        "golden/golden.npz": 0.04,
        "labels.json": 0.01,
    }.items():
        file = directory / path
        file.parent.mkdir(parents=True, exist_ok=True)
        with file.open("wb") as stream:
            for start in range(0, int(size_bytes * share), 2**20):
                stream.write(rng.randbytes(min(2**20, int(size_bytes * share) - start)))
    (directory / "saved_model/assets").mkdir()  # empty, as TensorFlow leaves it
    return seal(
        directory,
        run_id=f"run-{seed}",
        git_commit="c0ffee",
        dataset_digest="da7a",
        image_size=(32, 32),
        classes=10,
        variants={"tensorflow-fp32": VariantRecord(tolerance=1e-5, parity=2e-7)},
        signatures={"serving_default": {"inputs": {"input": {"dtype": "float32", "shape": [-1, 32, 32, 3]}}}},
    )


def names_in(directory: Path) -> set[str]:
    return {path.name for path in directory.iterdir()}


class Fetches:
    """A `Bundle.fetch` that copies a directory and counts how often it was asked."""

    def __init__(self, source: Path) -> None:
        self._source = source
        self.count = 0

    def __call__(self, directory: Path) -> Path:
        self.count += 1
        assert names_in(directory) == set()
        return Path(shutil.copytree(self._source, directory / "servable", symlinks=True))


def bundle_of(source: Path, digest: str) -> Bundle:
    return Bundle(digest, Fetches(source))


def publish_command(source: Path, base: Path, name: str, version: int, digest: str) -> list[str]:
    """Arguments after `python -m` that publish the bundle `source`."""
    return [__name__, "publish", str(source), str(base), name, str(version), digest]


def update_command(base: Path, path: str, content: str) -> list[str]:
    """Arguments after `python -m` that write a file of the base path."""
    return [__name__, "update", str(base), path, content]


def _publish(source: str, base: str, name: str, version: str, digest: str) -> None:
    created = open_store(base).publish(name, int(version), bundle_of(Path(source), digest)).created
    sys.stdout.write("created\n" if created else "was there\n")


def _update(base: str, path: str, content: str) -> None:
    open_store(base).update_file(path, lambda _: content.encode())


if __name__ == "__main__":
    try:
        {"publish": _publish, "update": _update}[sys.argv[1]](*sys.argv[2:])
    except SlipwayError as error:
        sys.exit(f"{type(error).__name__}: {error}")
