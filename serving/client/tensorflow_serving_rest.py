"""TensorFlow Serving's REST API, as the embedded model server and the real binary speak it."""

import base64
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from serving.client.answers import INPUT, SIGNATURE, Answer, RejectedError, answer_from_row, missing_signature
from serving.client.credentials import DENIED_STATUSES, denied
from serving.client.http import Exchange, Response
from slipway.errors import InputError, NotFoundError, UnavailableError

if TYPE_CHECKING:
    from serving.wire.tensors import Array

_VERSION_HEADER, _VARIANT_HEADER = "x-slipway-version", "x-slipway-variant"


class TensorFlowServingRest:
    """A Client over REST. Answers name their version if the server says it in a header, or if it was asked for."""

    def __init__(self, http: Exchange, name: str, *, label: str | None, version: int | None) -> None:
        self.name = name
        self.variant = ""  # that gave the newest answer; "" from a server that does not say
        self._http = http
        self._path = model_path(name, label=label, version=version)
        self._version = "" if version is None else str(version)

    def predict(self, images: Sequence[bytes]) -> list[Answer]:
        """See Client."""
        instances = [{INPUT: {"b64": base64.b64encode(image).decode("ascii")}} for image in images]
        rows, version = self._ask(SIGNATURE, instances)
        return [answer_from_row(row, version, str(self._http.address)) for row in rows]

    def predict_tensors(self, signature: str, inputs: "Mapping[str, Array]") -> "Mapping[str, Array]":
        """The outputs for the rows of one input: whole numbers, or an object array of `bytes`. Raises as `predict`.

        Pixels are whole numbers: as such they take a third of the room that floats take in JSON.
        """
        import numpy as np

        ((name, values),) = inputs.items()
        if values.dtype == np.dtype(object):
            instances: list[Any] = [{name: {"b64": base64.b64encode(value).decode("ascii")}} for value in values]
        else:
            instances = [{name: row} for row in values.astype(np.int64).tolist()]
        rows, version = self._ask(signature, instances)
        answers = [answer_from_row(row, version, str(self._http.address)) for row in rows]
        return {
            "output": np.array([answer.output for answer in answers]),
            "class_id": np.array([answer.class_id for answer in answers]),
            "label": np.array([answer.label.encode() for answer in answers], object),
        }

    def close(self) -> None:
        """See Client."""
        self._http.close()

    def _ask(self, signature: str, instances: Sequence[Any]) -> tuple[list[Any], str]:
        """A row for each instance, and the version that answered."""
        response = self._http.post(f"{self._path}:predict", {"signature_name": signature, "instances": instances})
        if response.status != 200:
            raise failure(response, self.name, self._http)
        document = response.document
        rows = document.get("predictions") if isinstance(document, dict) else None
        if not isinstance(rows, list) or len(rows) != len(instances):
            raise InputError(
                f"{self._http.address}: expected {len(instances)} predictions, got {_count(rows)}. "
                f"Serve a model whose signature {signature!r} answers for each image by itself."
            )
        self.variant = response.headers.get(_VARIANT_HEADER, "")
        return rows, response.headers.get(_VERSION_HEADER, self._version)


def model_path(name: str, *, label: str | None = None, version: int | None = None) -> str:
    """Return the URL path of a model, of one of its versions, or of a version label."""
    path = f"/v1/models/{quote(name, safe='')}"
    if version is not None:
        return f"{path}/versions/{version}"
    return path if label is None else f"{path}/labels/{quote(label, safe='')}"


def answers_as_tensorflow_serving(response: Response) -> bool:
    """Whether an answer to GET on a model's path has TensorFlow Serving's form, be it a status or an error."""
    document = response.document
    if not isinstance(document, dict):
        return False
    return isinstance(document.get("model_version_status" if response.status == 200 else "error"), str | list)


def check_known(response: Response, name: str, http: Exchange) -> None:
    """Raise NotFoundError, or what else the server says, if its answer to GET on a model's path is an error."""
    if response.status != 200:
        raise failure(response, name, http)


def is_available(http: Exchange, name: str, label: str | None = None) -> tuple[bool, str]:
    """Whether a version of the model (the one that bears `label`) is AVAILABLE, and the states of all in words.

    CredentialsError if the server lets nobody in with the token of the environment.
    """
    response = http.get(model_path(name))
    if response.status in DENIED_STATUSES:
        raise denied(http.address, response.message)
    statuses = _statuses(response)
    words = [
        f"version {one.get('version')} {one.get('state')} {one.get('status', {}).get('error_message', '')}".strip()
        for one in statuses
    ]
    asked = statuses if label is None else _statuses(http.get(model_path(name, label=label)))
    return any(one.get("state") == "AVAILABLE" for one in asked), "; ".join(words) or response.message


def _statuses(response: Response) -> list[Any]:
    document = response.document
    return list(document.get("model_version_status", [])) if isinstance(document, dict) else []


def failure(response: Response, name: str, http: Exchange) -> Exception:
    """What to raise for an answer about a model that is an error."""
    address, message = str(http.address), response.message
    if response.status == 404 or "Unrecognized servable version label" in message:
        return NotFoundError(
            f"{address}: {message}; expected model {name!r} and the version or label asked for to be loaded there. "
            f"See {address}{model_path(name)} for what is."
        )
    if response.status in DENIED_STATUSES:
        return denied(address, message)
    if "Serving signature name" in message or ("keys must be equal to" in message and INPUT not in message):
        return missing_signature(name, address, message)
    if 400 <= response.status < 500 and response.status not in {408, 409, 429, 499}:
        return RejectedError(f"{address} refused it: {message}")
    return UnavailableError(
        f"{address} failed with HTTP {response.status}: {message}; expected a prediction. "
        "Try again, or look at its log."
    )


def _count(rows: Any) -> str:
    return str(len(rows)) if isinstance(rows, list) else "none"
