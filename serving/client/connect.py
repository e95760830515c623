"""From an address to a client: find out what speaks there, and that it knows the model."""

from contextlib import ExitStack

from serving.client.address import Address, parse_address
from serving.client.answers import Client
from serving.client.credentials import DENIED_STATUSES, denied
from serving.client.http import Http
from serving.client.mlflow_scoring import MlflowScoring, answers_as_mlflow
from serving.client.tensorflow_serving_rest import (
    TensorFlowServingRest,
    answers_as_tensorflow_serving,
    check_known,
    model_path,
)
from slipway.errors import InputError
from slipway.names import check_model_name


def connect(
    address: str, name: str, *, label: str | None = None, version: int | None = None, timeout_s: float = 60.0
) -> Client:
    """Return a client of model `name` at `address`, having seen that the server there knows it.

    address: `http://HOST:PORT` or `https://HOST:PORT` (TensorFlow Serving's REST or MLflow's scoring server, found out
    by asking), `grpc://HOST:PORT` or `grpcs://HOST:PORT`, or `HOST:PORT` (http).
    label, version: ask this version label or version and no other; at most one of them.
    timeout_s: the longest wait for an answer to one request.

    Raises InputError, NotFoundError (no such model, version or label), UnavailableError (nothing answers).
    """
    check_model_name(name)
    if label is not None and version is not None:
        raise InputError(f"both label {label!r} and version {version} are given; expected one. Leave one out.")
    where = parse_address(address)
    if where.is_grpc:
        from serving.client.tensorflow_serving_grpc import TensorFlowServingGrpc

        return TensorFlowServingGrpc(where, name, label=label, version=version, timeout_s=timeout_s)
    return _over_http(where, name, label, version, timeout_s)


def _over_http(where: Address, name: str, label: str | None, version: int | None, timeout_s: float) -> Client:
    with ExitStack() as undo:
        http = Http(where, timeout_s)
        undo.callback(http.close)
        client = _recognise(http, name, label, version)
        undo.pop_all()
        return client


def _recognise(http: Http, name: str, label: str | None, version: int | None) -> Client:
    path = model_path(name, label=label, version=version)
    status = http.get(path)
    if status.status in DENIED_STATUSES:
        raise denied(http.address, status.message)
    if answers_as_tensorflow_serving(status):
        check_known(status, name, http)
        return TensorFlowServingRest(http, name, label=label, version=version)
    if not answers_as_mlflow(http):
        raise InputError(
            f"{http.address} answers neither as TensorFlow Serving (GET {path} gave HTTP {status.status}) nor as "
            "MLflow's scoring server (GET /ping, /version). Pass a model server's --address, not a tracking server's."
        )
    if label is not None or version is not None:
        raise InputError(
            f"{http.address} is MLflow's scoring server, which serves one version and takes no label or version. "
            "Leave --label and --version out."
        )
    return MlflowScoring(http, name)
