"""Warmup requests: a version answers those that it carries before it takes traffic."""

import logging
from pathlib import Path

from google.protobuf.message import DecodeError

from serving.model_server.errors import invalid_argument
from serving.model_server.predict import predict
from serving.model_server.runtimes import Runtime
from serving.servable.warmup import WARMUP_FILE
from serving.wire.prediction_log_pb2 import PredictionLog
from serving.wire.tensors import to_numpy
from serving.wire.tfrecord import read_records

_MOST_RECORDS = 1000
_LOG = logging.getLogger(__name__)


def warm_up(runtime: Runtime, version_directory: Path) -> int:
    """Run the warmup file's Predict requests, if there is one; return how many. An error in one is a load's failure."""
    path = version_directory / WARMUP_FILE
    if not path.exists():
        return 0
    ran = 0
    for index, record in enumerate(read_records(path)):
        if index >= _MOST_RECORDS:
            raise invalid_argument(f"Number of warmup records exceeds the maximum ({_MOST_RECORDS}) at {path}")
        try:
            log = PredictionLog.FromString(record)
        except DecodeError:
            raise invalid_argument(f"Failed to parse warmup record: number {index} from {path}") from None
        kind = log.WhichOneof("log_type")
        if kind != "predict_log":
            _LOG.warning("%s: record %d is a %s, which is not run here", path, index, kind)
            continue
        request = log.predict_log.request
        inputs = {name: to_numpy(tensor) for name, tensor in request.inputs.items()}
        predict(runtime, request.model_spec.signature_name, inputs, request.output_filter)
        ran += 1
    return ran
