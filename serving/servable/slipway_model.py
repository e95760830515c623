"""Load a servable as an MLflow pyfunc. This file travels inside the model version, so it imports nothing of Slipway.

One row a picture: `input`, float pixels [H][W][3], RGB, 0 to 255; or `image_bytes`, an encoded JPEG, PNG, BMP or GIF.
"""

import re
from collections.abc import Hashable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from mlflow.exceptions import MlflowException

_SIGNATURES = {"input": "serving_default", "image_bytes": "serving_bytes"}
_BATCH = 32
_AT_NODE = re.compile(r"^(.+)\n\s+\[\[\{\{node ", re.MULTILINE)  # TensorFlow's reason stands before the failed node


class Classifier:
    """The servable's SavedModel, asked through pandas."""

    def __init__(self, saved_model: Path) -> None:
        import tensorflow as tf

        self._loaded: Any = tf.saved_model.load(str(saved_model))

    def predict(self, model_input: pd.DataFrame, params: Mapping[str, Any] | None = None) -> pd.DataFrame:  # noqa: ARG002
        """A DataFrame with `output` (list of probabilities), `class_id` and `label`, in the order of the rows."""
        columns = [_given(row) for row in model_input.to_dict("records")]
        answers: list[Any] = [None] * len(columns)
        for column in _SIGNATURES:
            rows = [index for index, (name, _) in enumerate(columns) if name == column]
            for start in range(0, len(rows), _BATCH):
                batch = rows[start : start + _BATCH]
                for index, answer in zip(batch, self._ask(column, [columns[row][1] for row in batch]), strict=True):
                    answers[index] = answer
        return pd.DataFrame(answers, columns=["output", "class_id", "label"])

    def _ask(self, column: str, values: Sequence[Any]) -> list[tuple[list[float], int, str]]:
        import tensorflow as tf

        if column == "input":
            tensor = tf.constant(np.stack([np.asarray(value, np.float32) for value in values]))
        else:
            tensor = tf.constant(values)
        try:
            answer = self._loaded.signatures[_SIGNATURES[column]](**{column: tensor})
        except (tf.errors.InvalidArgumentError, TypeError, ValueError) as error:
            reason = _AT_NODE.search(str(error))
            raise _refused(reason[1] if reason else str(error).strip().splitlines()[0]) from error
        output, class_id, label = (answer[name].numpy() for name in ("output", "class_id", "label"))
        return [
            (row.tolist(), int(number), name.decode())
            for row, number, name in zip(output, class_id, label, strict=True)
        ]


def _given(row: Mapping[Hashable, Any]) -> tuple[str, Any]:
    given = [(name, row[name]) for name in _SIGNATURES if name in row and not _missing(row[name])]
    if len(given) != 1:
        raise _refused(
            f"a row gives {len(given)} of the columns 'input' and 'image_bytes'; expected exactly one of them. "
            "Send {'input': pixels} or {'image_bytes': base64 of a file}."
        )
    return given[0]


def _refused(reason: str) -> MlflowException:
    return MlflowException.invalid_parameter_value(reason)


def _missing(value: Any) -> bool:
    return value is None or (isinstance(value, float) and np.isnan(value))


def _load_pyfunc(data_path: str) -> Classifier:
    """MLflow's entry: `data_path` is the servable's directory."""
    return Classifier(Path(data_path) / "saved_model")
