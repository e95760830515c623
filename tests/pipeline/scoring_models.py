"""Versions that `mlflow models serve` takes, made without TensorFlow: a loader of our own asks their ONNX variant."""

import shutil

import numpy as np

from pipeline.package import model_digest, signature
from registry.client import NewVersion
from registry.register import MANIFEST_DIGEST, MODEL_DIGEST
from tests.pipeline.registered_world import RegisteredWorld
from tests.serving.model_server.servables import LABELS, WEIGHTS, seal_servable

NAME = "digits"
VARIANT = "onnx-fp32"
LOADER = f"""
import io
from pathlib import Path

import numpy as np
import pandas as pd

LABELS = {LABELS}


class Network:
    def __init__(self, file):
        import onnxruntime

        self.session = onnxruntime.InferenceSession(file)

    def predict(self, model_input, params=None):
        rows = [self.answer(row) for row in model_input.to_dict("records")]
        return pd.DataFrame(rows, columns=["output", "class_id", "label"])

    def answer(self, row):
        pixels = row.get("input")
        if pixels is None or isinstance(pixels, float):
            from PIL import Image

            pixels = np.asarray(Image.open(io.BytesIO(row["image_bytes"])).convert("RGB"))
        output = self.session.run(None, {{"input": np.asarray(pixels, np.float32)[None]}})[0][0]
        return output.tolist(), int(output.argmax()), LABELS[output.argmax()]


def _load_pyfunc(data_path):
    return Network(str(Path(data_path) / "variants" / "{VARIANT}" / "model.onnx"))
"""


def weights(seed):
    return np.roll(WEIGHTS, seed, axis=0)


class ScoringWorld(RegisteredWorld):
    """A folder with a registry whose versions MLflow's scoring server can serve."""

    def scored_version(self, seed, *, spoiled=False, loader=LOADER):
        """A version whose answers follow from `seed`; a spoiled one's are not those of its golden requests."""
        import mlflow.pyfunc

        run_id = self.mlflow.create_run(self.experiment, run_name="train").info.run_id
        root, module = self.folder / "to-log", self.folder / "matrix.py"
        module.write_text(loader)
        bundle = self.folder / "bundle"
        digest = seal_servable(
            bundle,
            {VARIANT: 90.0},
            spoiled=(VARIANT,) if spoiled else (),
            run_id=run_id,
            weights=weights(seed),
        )
        mlflow.pyfunc.save_model(
            root,
            loader_module="matrix",
            data_path=str(bundle),
            code_paths=[str(module)],
            signature=signature(),
            pip_requirements=["mlflow"],
        )
        shutil.rmtree(root / "data")
        bundle.rename(root / "servable")
        model_file = root / "MLmodel"
        model_file.write_text(model_file.read_text().replace("data: data/bundle", "data: servable"))
        model = self.mlflow.create_logged_model(self.experiment, name="model", source_run_id=run_id)
        self.mlflow.log_model_artifacts(model.model_id, str(root))
        self.mlflow.finalize_logged_model(model.model_id, "READY")
        tags = {MANIFEST_DIGEST: digest, MODEL_DIGEST: model_digest(root)}
        shutil.rmtree(root)
        return self.registry.create_version(NewVersion(NAME, f"models:/{model.model_id}", run_id, tags, "a card"))
