"""A registry on SQLite with sealed versions that a server without TensorFlow can run, a ledger, and a base path.

Each version is a matrix and a softmax; its servable is a real one, with golden requests and an ONNX variant.
"""

import json
import shutil

from mlflow import MlflowClient

from registry.client import NewVersion
from registry.gate import Candidate, gate
from registry.ledger import NewEntry
from registry.policy import Policy
from registry.register import DATASET_DIGEST, GIT_COMMIT, MANIFEST_DIGEST, SIZE_BYTES
from serving.model_config import labels_config, models_config
from tests.pipeline.lifecycle_world import World
from tests.registry.conftest import make_evaluation
from tests.serving.model_server.servables import LABELS, seal_servable

TRUTH = [0, 1, 2] * 10
COMMIT = "4f0c" * 10
VARIANTS = {"onnx-fp32": 90.0}


class RegisteredWorld(World):
    """A folder that commands run in, with versions that were made without a training."""

    def __init__(self, folder):
        super().__init__(folder)
        self.mlflow = MlflowClient(self.uri)
        self.experiment = self.mlflow.create_experiment("world", artifact_location=(folder / "artifacts").as_uri())

    def version(self, name="digits", *, commit=COMMIT, **servable):
        """Train, seal and register, in seconds and without a network worth the name."""
        run_id = self.mlflow.create_run(self.experiment, run_name="train").info.run_id
        self.mlflow.log_text(run_id, json.dumps({"data": {"source": "a-folder"}}), "config.json")
        root = self.folder / "to-log"
        digest = self.seal(root / "servable", run_id, **servable)
        model = self.mlflow.create_logged_model(self.experiment, name="model", source_run_id=run_id)
        self.mlflow.log_model_artifacts(model.model_id, str(root))
        self.mlflow.finalize_logged_model(model.model_id, "READY")
        size = sum(path.stat().st_size for path in root.rglob("*") if path.is_file())
        shutil.rmtree(root)
        tags = {MANIFEST_DIGEST: digest, GIT_COMMIT: commit, DATASET_DIGEST: "da" * 32, SIZE_BYTES: str(size)}
        return self.registry.create_version(NewVersion(name, f"models:/{model.model_id}", run_id, tags, "a card"))

    def seal(self, directory, run_id, **servable):
        """Write the version's servable; returns its manifest's digest."""
        return seal_servable(directory, VARIANTS, run_id=run_id, **servable)

    def made_live(self, version, before=None, **entry):
        """The alias, and the ledger's entry of it, as a promotion by Ada leaves them."""
        self.registry.set_alias(version.name, "champion", version.version)
        fields = {
            "model": version.name,
            "action": "promote",
            "alias": "champion",
            "from_version": before,
            "to_version": version.version,
            "actor": "ada",
            "origin": "command",
            "reason": "it is better",
            **entry,
        }
        return self.ledger.append(NewEntry(**fields))

    def published(self, patch, *versions):
        for version in versions:
            done = self.call(patch, "export", "--name", version.name, "--version", version.version)
            assert done.code == 0, done.err

    def configured(self, name, wanted):
        """Both config files, as a pass of reconcile leaves them."""
        path = str(self.base / name)
        for file, make in (("labels.config", labels_config), ("models.config", models_config)):
            present = self.base / file
            text = present.read_bytes() if present.exists() else None
            present.write_bytes(make(text, name, path, wanted))

    def server_flags(self, file="labels.config"):
        """A server without TensorFlow that follows a config file: as Slipway starts it, or as the real binary."""
        live = ("--default_label=stable",) if file == "labels.config" else ()
        config = (f"--model_config_file={self.base / file}", "--model_config_file_poll_wait_seconds=1")
        return (*config, *live, "--runtime=onnxruntime", "--file_system_poll_wait_seconds=1")

    def logged_report(self, version, right=27, against=None):
        """The gate's report on a version that has so many of thirty images right, as `gate` leaves it with the run.

        against: the champion's number, if there is one; it has 27 right.
        """
        candidates = [
            None if number is None else self._judged(version.name, number, hits)
            for number, hits in ((version.version, right), (against, 27))
        ]
        report = gate(*candidates, Policy()).as_dict()
        path = f"gate/{version.name}-{version.version}.json"
        self.registry.log_artifact_bytes(version.run_id, path, json.dumps(report).encode())
        return report

    @staticmethod
    def _judged(name, number, right):
        predicted = [truth if place < right else (truth + 1) % 3 for place, truth in enumerate(TRUTH)]
        return Candidate(name, number, make_evaluation(TRUTH, predicted, labels=LABELS), 0.0, 1)

    def forget_run(self, run_id):
        """Delete a run for good, as `mlflow gc` does."""
        from mlflow.store.tracking.sqlalchemy_store import SqlAlchemyStore

        store = SqlAlchemyStore(self.uri, (self.folder / "artifacts").as_uri())
        store.delete_run(run_id)
        store._hard_delete_run(run_id)
