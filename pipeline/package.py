"""The MLflow model that a version is registered from: the Keras network, the sealed servable, and how to load them."""

import logging
import shutil
import sys
from collections.abc import Callable
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import serving.servable
from registry.mlflow_errors import mlflow_errors
from slipway.files import sha256_bytes, sha256_file

if TYPE_CHECKING:
    import keras
    from mlflow.models import Model

SERVABLE = "servable"
_LOADER = Path(serving.servable.__path__[0]) / "slipway_model.py"
_DIGESTED = ("code", "data", SERVABLE)


@dataclass(frozen=True)
class LoggedModel:
    """An MLflow model: its URI, `models:/m-...`, and the digest of its files."""

    uri: str
    digest: str


def log_model(network: "keras.Model", servable: Path, run_id: str) -> LoggedModel:
    """Log network and servable as one MLflow model of `run_id`."""
    import mlflow.models

    digests: list[str] = []
    with mlflow_errors(f"model of run {run_id}"):
        info = mlflow.models.Model.log(
            artifact_path=None,
            name="classifier",
            flavor=sys.modules[__name__],
            run_id=run_id,
            network=network,
            servable=servable,
            record=digests.append,
        )
    return LoggedModel(f"models:/{info.model_id}", digests[-1])


def save_model(
    network: "keras.Model", servable: Path, path: str, mlflow_model: "Model", record: Callable[[str], None]
) -> None:
    """Write the MLflow model directory `path` and `record` its digest: MLflow calls this for a flavor."""
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
    record(model_digest(root))


def model_digest(root: Path) -> str:
    """SHA-256 over path and content of what a version executes or loads: `code/`, `data/` and `servable/`.

    Not over MLmodel and its like, which MLflow writes anew when it logs or registers.
    """
    files = sorted(path for folder in _DIGESTED for path in (root / folder).rglob("*") if path.is_file())
    lines = [f"{path.relative_to(root).as_posix()} {sha256_file(path)}" for path in files]
    return sha256_bytes("\n".join(lines).encode())


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
    tensorflow = "tensorflow-cpu" if _installed("tensorflow-cpu") else "tensorflow"
    return [f"{name}=={version(name)}" for name in ("mlflow", tensorflow, "keras", "numpy", "pandas")]


def _installed(name: str) -> bool:
    try:
        version(name)
    except PackageNotFoundError:
        return False
    return True


def _file_if_there(root: Path, name: str) -> str | None:
    return name if (root / name).exists() else None
