"""Warmup requests in TensorFlow Serving's format, so that a version is fast from its first real request."""

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from serving.servable.golden import GoldenRequests
from serving.wire.predict_pb2 import PredictRequest
from serving.wire.prediction_log_pb2 import PredictionLog, PredictLog
from serving.wire.tensors import to_proto
from serving.wire.tfrecord import write_records

WARMUP_FILE = "assets.extra/tf_serving_warmup_requests"


def write_warmup(path: Path, model_name: str, golden: GoldenRequests) -> None:
    """Write a TFRecord file of PredictionLogs: each signature once alone and once as a batch of four."""
    path.parent.mkdir(parents=True, exist_ok=True)
    logs = []
    for count in (1, 4):
        pixels = golden.pixels[:count].astype(np.float32)
        encoded = np.array(golden.encoded[:count], dtype=object)
        logs.append(_predict_log(model_name, "serving_default", "input", pixels))
        logs.append(_predict_log(model_name, "serving_bytes", "image_bytes", encoded))
    write_records(path, [log.SerializeToString(deterministic=True) for log in logs])


def _predict_log(model_name: str, signature: str, input_name: str, value: npt.NDArray[Any]) -> PredictionLog:
    request = PredictRequest()
    request.model_spec.name = model_name
    request.model_spec.signature_name = signature
    request.inputs[input_name].CopyFrom(to_proto(value, as_content=value.dtype != object))
    return PredictionLog(predict_log=PredictLog(request=request))
