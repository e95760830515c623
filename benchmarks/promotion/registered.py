"""A registry on SQLite with versions of a 224 x 224 ResNet50 that were made without a training, and commands on it."""

import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.serving.network import NAME, build_network_servable
from registry.client import NewVersion, Registry
from registry.register import MANIFEST_DIGEST, SIZE_BYTES
from slipway.files import sha256_file

_ROOT = Path(__file__).parents[2]


@dataclass(frozen=True)
class Registered:
    """A folder with `mlflow.db`, its artifacts, and the base path `serving_base`."""

    folder: Path

    @property
    def uri(self) -> str:
        """The tracking address."""
        return f"sqlite:///{self.folder}/mlflow.db"

    @property
    def base(self) -> Path:
        """The base path that versions are published to."""
        return self.folder / "serving_base"

    @property
    def registry(self) -> Registry:
        """The registry at the folder's tracking address."""
        return Registry(self.uri)

    def artifacts(self, version: int) -> Path:
        """The version's servable in the artifact store."""
        registry = self.registry
        directory = registry.local_directory(registry.version(NAME, version))
        assert directory is not None
        return directory / "servable"

    def make(self, versions: int, names: tuple[str, ...] = (), head: str = "avg") -> None:
        """Register one network `versions` times, with the variants `names`: as many versions, the same bytes."""
        from mlflow import MlflowClient

        self.folder.mkdir(parents=True, exist_ok=True)
        self.base.mkdir(exist_ok=True)
        client: Any = MlflowClient(self.uri)
        experiment = client.create_experiment("networks", artifact_location=(self.folder / "artifacts").as_uri())
        run_id = client.create_run(experiment, run_name="train").info.run_id
        with tempfile.TemporaryDirectory(prefix="network-", dir=self.folder) as scratch:
            servable = build_network_servable(Path(scratch), names, head)
            logged = Path(scratch, "logged")
            logged.mkdir()
            shutil.move(servable.directory, logged / "servable")
            model = client.create_logged_model(experiment, name="model", source_run_id=run_id)
            client.log_model_artifacts(model.model_id, str(logged))
            client.finalize_logged_model(model.model_id, "READY")
        tags = {MANIFEST_DIGEST: servable.manifest_digest, SIZE_BYTES: str(servable.size_bytes)}
        for _ in range(versions):
            self.registry.create_version(NewVersion(NAME, f"models:/{model.model_id}", run_id, tags, "random weights"))

    @contextmanager
    def command(self, *words: str, log: Path) -> Iterator[subprocess.Popen[bytes]]:
        """`slipway WORDS` until the block ends; its output goes to the file `log`."""
        ours = {key: value for key, value in os.environ.items() if not key.startswith(("MLFLOW_", "SLIPWAY_"))}
        with log.open("ab") as output:
            process = subprocess.Popen(
                [sys.executable, "-m", "pipeline", *words],
                cwd=self.folder,
                env={**ours, "PYTHONPATH": str(_ROOT), "MLFLOW_TRACKING_URI": self.uri},
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=True,
            )
        try:
            yield process
        finally:
            process.terminate()
            try:
                process.wait(60)
            except subprocess.TimeoutExpired:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()


def hash_all(directory: Path) -> int:
    """Read every file below `directory` through SHA-256; the bytes there are."""
    files = [path for path in directory.rglob("*") if path.is_file()]
    for file in files:
        sha256_file(file)
    return sum(file.stat().st_size for file in files)
