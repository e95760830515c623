"""A real MLflow store on SQLite, made once and copied for each test."""

import shutil

import numpy as np
import pytest

from registry.client import NewVersion, Registry
from registry.evaluation import ClassResult, Evaluation


@pytest.fixture(scope="session")
def template_store(tmp_path_factory):
    """MLflow's first start on a database runs its migrations: some seconds, spent once."""
    folder = tmp_path_factory.mktemp("mlflow-template")
    Registry(f"sqlite:///{folder}/mlflow.db")
    return folder / "mlflow.db"


@pytest.fixture(params=["sqlite", pytest.param("postgresql", marks=pytest.mark.integration)])
def database(request, tmp_path):
    """The address of an empty database: SQLite's, and among the integration tests PostgreSQL's."""
    if request.param == "postgresql":
        return request.getfixturevalue("postgresql").create_database()
    return f"sqlite:///{tmp_path}/slipway.db"


class World:
    """A registry with its experiment, and short ways to put runs and versions into it."""

    def __init__(self, folder):
        from mlflow import MlflowClient

        self.folder = folder
        self.uri = f"sqlite:///{folder}/mlflow.db"
        self.registry = Registry(self.uri)
        self.mlflow = MlflowClient(self.uri)
        self.experiment = self.mlflow.create_experiment("test", artifact_location=(folder / "artifacts").as_uri())

    def run(self):
        return self.mlflow.create_run(self.experiment).info.run_id

    def logged_model(self, run_id, files):
        source = self.folder / "to-log"
        for path, data in files.items():
            (source / path).parent.mkdir(parents=True, exist_ok=True)
            (source / path).write_bytes(data)
        model = self.mlflow.create_logged_model(self.experiment, name="model", source_run_id=run_id)
        self.mlflow.log_model_artifacts(model.model_id, str(source))
        self.mlflow.finalize_logged_model(model.model_id, "READY")
        shutil.rmtree(source)
        return model.model_id

    def version(self, name="digits", files=None, tags=None):
        run_id = self.run()
        model_id = self.logged_model(run_id, files or {"servable/labels.json": b'["0", "1"]'})
        return self.registry.create_version(
            NewVersion(name, f"models:/{model_id}", run_id, tags or {}, "a description")
        )


@pytest.fixture
def world(template_store, tmp_path):
    shutil.copy(template_store, tmp_path / "mlflow.db")
    return World(tmp_path)


def make_evaluation(truth, predicted, *, labels=("a", "b"), **overrides):
    """An Evaluation whose accuracy and per-class numbers are those of the two sequences."""
    truth, predicted = np.asarray(truth, np.int32), np.asarray(predicted, np.int32)
    hits = truth == predicted
    per_class = {}
    for index, label in enumerate(labels):
        of, said = truth == index, predicted == index
        precision = float(hits[said].mean()) if said.any() else float("nan")
        recall = float(hits[of].mean()) if of.any() else float("nan")
        per_class[label] = ClassResult(precision, recall, int(of.sum()))
    facts = {
        "run_id": "0" * 32,
        "dataset_digest": "d" * 64,
        "split": "test",
        "split_digest": "5" * 64,
        "images": len(truth),
        "accuracy": float(hits.mean()) if len(hits) else float("nan"),
        "top3_accuracy": 1.0,
        "macro_f1": 0.9,
        "log_loss": 0.1,
        "calibration_error": 0.02,
    }
    return Evaluation(
        **{**facts, **overrides}, per_class=per_class, labels=tuple(labels), truth=truth, predicted=predicted
    )
