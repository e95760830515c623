"""The MLflow model that a version is registered from: the Keras network, the sealed servable, and how to load them."""

import logging
import shutil
import sys
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import serving.servable
from registry.mlflow_errors import mlflow_errors

if TYPE_CHECKING:
    import keras
    from mlflow.models import Model

SERVABLE = "servable"
_LOADER = Path(serving.servable.__path__[0]) / "slipway_model.py"
_PACKAGES = ("mlflow", "tensorflow-cpu", "keras", "numpy", "pandas")


def log_model(network: "keras.Model", servable: Path, run_id: str) -> str:
    """Log network and servable as one MLflow model of `run_id`; returns its URI, `models:/m-...`."""
    import mlflow.models

    with mlflow_errors(f"model of run {run_id}"):
        info = mlflow.models.Model.log(
            artifact_path=None,
            name="classifier",
            flavor=sys.modules[__name__],
            run_id=run_id,
            network=network,
            servable=servable,
        )
    return f"models:/{info.model_id}"


def save_model(network: "keras.Model", servable: Path, path: str, mlflow_model: "Model") -> None:
    """Write the MLflow model directory `path`: MLflow calls this for a flavor."""
    import mlflow.keras
    from mlflow import pyfunc

    # Keras' flavor takes tensor signatures alone; ours, of two optional columns, is set behind it.
    logging.getLogger("mlflow.keras.save").setLevel(logging.ERROR)
    mlflow.keras.save_model(
        network,
        path,
        mlflow_model=mlflow_model,
        pip_requirements=pip_requirements(),
        save_model_kwargs={"include_optimizer": False},
    )
    mlflow_model.signature = signature()
    root = Path(path)
    shutil.copytree(servable, root / SERVABLE)
    (root / "code").mkdir()
    shutil.copyfile(_LOADER, root / "code" / _LOADER.name)
    pyfunc.add_to_model(
        mlflow_model,
        loader_module=_LOADER.stem,
        data=SERVABLE,
        code="code",
        conda_env=_file_if_there(root, "conda.yaml"),
        python_env=_file_if_there(root, "python_env.yaml"),
    )
    mlflow_model.save(str(root / "MLmodel"))


def signature() -> Any:
    """MLflow's signature: one optional column of pixels, one of encoded bytes; the servable's three outputs."""
    from mlflow.models import ModelSignature
    from mlflow.types import ColSpec, DataType, Schema
    from mlflow.types.schema import Array

    return ModelSignature(
        inputs=Schema(
            [
                ColSpec(Array(Array(Array(DataType.double))), "input", required=False),
                ColSpec(DataType.binary, "image_bytes", required=False),
            ]
        ),
        outputs=Schema(
            [
                ColSpec(Array(DataType.double), "output"),
                ColSpec(DataType.long, "class_id"),
                ColSpec(DataType.string, "label"),
            ]
        ),
    )


def pip_requirements() -> list[str]:
    """What loading the version needs, pinned as installed here: inferring it costs MLflow some 20 s."""
    return [f"{name}=={version(name)}" for name in _PACKAGES]


def _file_if_there(root: Path, name: str) -> str | None:
    return name if (root / name).exists() else None
