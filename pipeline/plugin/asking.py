"""Predictions of a deployment, by whichever protocol its servers are named for."""

import contextlib
import time
from typing import Any

from pipeline.plugin.inputs import Request, to_instances, to_rows
from pipeline.plugin.settings import Settings
from serving.client.address import parse_address
from serving.client.http import Http
from serving.client.tensorflow_serving_rest import check_known, model_path
from slipway.errors import InputError, UnavailableError

_TIMEOUT_S = 60.0
_POLL_S = 0.5


def ask(settings: Settings, name: str, request: Request) -> list[dict[str, Any]]:
    """A row of outputs for each row asked about, by the live version of `name`."""
    if settings.rest is not None:
        return _over_rest(settings.rest, name, request)
    failure: UnavailableError | None = None
    for address in settings.config.reconcile.addresses:
        try:
            return _over_grpc(address, name, request)
        except UnavailableError as error:
            failure = error
    raise failure or InputError("no server is named. Pass one as the target: slipway:grpc://HOST:8500")


def _over_grpc(address: str, name: str, request: Request) -> list[dict[str, Any]]:
    from serving.client.tensorflow_serving_grpc import TensorFlowServingGrpc

    client = TensorFlowServingGrpc(parse_address(address), name, label=None, version=None, timeout_s=_TIMEOUT_S)
    with contextlib.closing(client):
        return to_rows(client.predict_tensors(request.signature, {request.name: request.column}))


def _over_rest(address: str, name: str, request: Request) -> list[dict[str, Any]]:
    document = {"signature_name": request.signature, "instances": to_instances(request)}
    with Http(parse_address(address), _TIMEOUT_S) as http:
        response = http.post(f"{model_path(name)}:predict", document)
        check_known(response, name, http)
        rows = response.document
    if not isinstance(rows, dict) or not isinstance(rows.get("predictions"), list):
        raise InputError(f"{address}: expected predictions; got {response.message}. Name a model server.")
    return list(rows["predictions"])


def await_answers(address: str, name: str, version: int, timeout_s: float) -> None:
    """Return once the REST address has the version AVAILABLE; UnavailableError if it does not within the time."""
    deadline = time.monotonic() + timeout_s
    while (state := _state(address, name, version)) != "AVAILABLE":
        if time.monotonic() > deadline:
            raise UnavailableError(
                f"{address}: {name} version {version} is live, and there it is {state} after {timeout_s:g} s; expected "
                "AVAILABLE. Does this server read the base path? Look at its log."
            )
        time.sleep(_POLL_S)


def _state(address: str, name: str, version: int) -> str:
    with Http(parse_address(address), _TIMEOUT_S) as http:
        response = http.get(model_path(name, version=version))
    statuses = response.document.get("model_version_status") if isinstance(response.document, dict) else None
    return str(statuses[0]["state"]) if statuses else response.message
