"""Call a served model: one client for TensorFlow Serving's REST and gRPC and for MLflow's scoring server."""

from serving.client.answers import Answer, Client, Prediction, RejectedError
from serving.client.connect import connect
from serving.client.files import collect_images, predict_files
from serving.client.show import as_json, as_table

__all__ = [
    "Answer",
    "Client",
    "Prediction",
    "RejectedError",
    "as_json",
    "as_table",
    "collect_images",
    "connect",
    "predict_files",
]
