"""MLflow's scoring server, `mlflow models serve`: one model version, no names, base64 in dataframe records."""

import base64
import re
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from serving.client.answers import INPUT, Answer, RejectedError, answer_from_row
from serving.client.credentials import DENIED_STATUSES, denied
from serving.client.http import Http, Response, one_line
from slipway.errors import InputError, UnavailableError

if TYPE_CHECKING:
    from serving.wire.tensors import Array

# How a stack trace ends: `SomeError: reason`, or, where TensorFlow wrote it, the reason before the failed node.
_AT_NODE = re.compile(r"^(.+)\n\s+\[\[\{\{node ", re.MULTILINE)
_RAISED = re.compile(r"^[\w.]*(?:Error|Exception): (.+)$", re.MULTILINE)
_MLFLOW_VERSION = re.compile(rb'\s*"?\d+\.\d+[\w.+]*"?\s*')


class MlflowScoring:
    """A Client over `/invocations`. The server does not say which model version it serves."""

    def __init__(self, http: Http, name: str) -> None:
        self.name = name
        self._http = http

    def predict(self, images: Sequence[bytes]) -> list[Answer]:
        """See Client."""
        rows = self._ask([{INPUT: _as_text(image)} for image in images])
        return [answer_from_row(row, "", str(self._http.address)) for row in rows]

    def predict_tensors(
        self,
        signature: str,  # noqa: ARG002 - the input's name says it
        inputs: "Mapping[str, Array]",
    ) -> "Mapping[str, Array]":
        """The outputs for one input's rows, pixels or an object array of `bytes`, which names the signature by itself.

        Raises as `predict`.
        """
        import numpy as np

        ((name, values),) = inputs.items()
        rows = self._ask([{name: _as_text(value) if name == INPUT else value.tolist()} for value in values])
        answers = [answer_from_row(row, "", str(self._http.address)) for row in rows]
        return {
            "output": np.array([answer.output for answer in answers]),
            "class_id": np.array([answer.class_id for answer in answers]),
            "label": np.array([answer.label.encode() for answer in answers], object),
        }

    def _ask(self, records: Sequence[Mapping[str, Any]]) -> list[Any]:
        """An answer for each record, in order."""
        response = self._http.post("/invocations", {"dataframe_records": records})
        address = str(self._http.address)
        if response.status in DENIED_STATUSES:
            raise denied(address, response.message)
        if 400 <= response.status < 500:
            raise RejectedError(f"{address} refused it: {_reason(response)}")
        if response.status != 200:
            raise UnavailableError(
                f"{address} failed with HTTP {response.status}: {response.message}; expected a prediction. "
                "Try again, or look at its log."
            )
        document = response.document
        rows = document.get("predictions") if isinstance(document, dict) else None
        if not isinstance(rows, list) or len(rows) != len(records):
            raise InputError(
                f"{address}: expected a list of {len(records)} predictions. "
                "Serve a model version that Slipway registered."
            )
        return rows

    def close(self) -> None:
        """See Client."""
        self._http.close()


def _as_text(image: bytes) -> str:
    return base64.b64encode(image).decode("ascii")


def answers_as_mlflow(http: Http) -> bool:
    """Whether a scoring server of MLflow answers: `/ping` is well, and `/version` is a version."""
    if http.get("/ping").status != 200:
        return False
    response = http.get("/version")
    return response.status == 200 and _MLFLOW_VERSION.fullmatch(response.body) is not None


def _reason(response: Response) -> str:
    """Why the model refused: MLflow puts it behind a print of the data, or at the end of a stack trace."""
    document = response.document
    fields = document if isinstance(document, dict) else {}
    _, found, error = str(fields.get("message", "")).rpartition("\nError: ")
    if found:
        return one_line(error)
    trace = str(fields.get("stack_trace", ""))
    reasons = _AT_NODE.findall(trace) or _RAISED.findall(trace)
    return one_line(reasons[-1]) if reasons else response.message
