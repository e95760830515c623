"""What is scored and by what: photographs in a list, and a registered 224 x 224 network with variants.

`python -m benchmarks.score.material DIR VARIANT...` makes it below DIR: a process of its own, since TensorFlow's memory
and threads have no place beside a measurement.
"""

import csv
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from benchmarks.promotion.registered import Registered
from benchmarks.serving.load import ROOT
from benchmarks.serving.network import NAME, build_network_servable, photographs, random_network
from benchmarks.serving.payloads import photographs as jpeg_files
from registry.client import NewVersion
from registry.register import MANIFEST_DIGEST, MODEL_DIGEST
from serving.servable.golden import LEAST_REQUESTS
from serving.stores import Bundle, open_store

_FILES = 64


def made(folder: Path, variants: tuple[str, ...]) -> Registered:
    """A registry with version 1, registered and published, with these variants; made unless it is there."""
    registered = Registered(folder / f"score-{'-'.join(sorted(variants))}")
    if not (registered.base / NAME / "1").exists():
        shutil.rmtree(registered.folder, ignore_errors=True)
        command = [sys.executable, "-m", "benchmarks.score.material", str(registered.folder), *variants]
        subprocess.run(command, cwd=ROOT, check=True, stdout=sys.stderr)
    return registered


def write_list(folder: Path, images: int) -> Path:
    """A CSV file that names so many photographs, JPEG of 500 x 375 and some 30 KB; a few files over and over."""
    pictures = folder / "photographs"
    if not pictures.exists():
        pictures.mkdir(parents=True)
        for number, content in enumerate(jpeg_files(_FILES)):
            (pictures / f"{number:02}.jpg").write_bytes(content)
    file = folder / f"{images}.csv"
    with file.open("w", encoding="utf-8", newline="") as stream:
        rows = csv.writer(stream)
        rows.writerow(["path"])
        rows.writerows([f"photographs/{number % _FILES:02}.jpg"] for number in range(images))
    return file


def _make(registered: Registered, variants: tuple[str, ...]) -> None:
    """Register the network as training would: as an MLflow model that Spark can load."""
    import mlflow

    from pipeline.package import log_model

    registered.base.mkdir(parents=True)
    mlflow.set_tracking_uri(registered.uri)
    experiment = mlflow.create_experiment("networks", artifact_location=(registered.folder / "artifacts").as_uri())
    with (
        tempfile.TemporaryDirectory(dir=registered.folder) as scratch,
        mlflow.start_run(experiment_id=experiment) as run,
    ):
        servable = build_network_servable(Path(scratch), variants)
        network = random_network(photographs(LEAST_REQUESTS))  # seeded: the servable's again
        model = log_model(network, servable.directory, run.info.run_id)
        tags = {MANIFEST_DIGEST: servable.manifest_digest, MODEL_DIGEST: model.digest}
        registered.registry.create_version(NewVersion(NAME, model.uri, run.info.run_id, tags, "random weights"))
        bundle = Bundle(servable.manifest_digest, lambda into: Path(shutil.copytree(servable.directory, into / "it")))
        open_store(str(registered.base)).publish(NAME, 1, bundle)


if __name__ == "__main__":
    _make(Registered(Path(sys.argv[1])), tuple(sys.argv[2:]))
