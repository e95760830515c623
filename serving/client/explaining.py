"""Ask a server where in an image its model saw what it says: `:explain`, or the signature that every server has."""

import base64
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from serving.client.address import parse_address
from serving.client.answers import INPUT, Answer, answer_from_row
from serving.client.http import Exchange, Http, Response
from serving.client.tensorflow_serving_rest import check_known, failure, model_path
from slipway.errors import InputError

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

SIGNATURE = "serving_explain"


@dataclass(frozen=True, eq=False)  # arrays do not compare to a bool
class Explanation:
    """heat_map: float32 [H, W] at the network's input size, 0 to 1: where it saw the class that it answers."""

    answer: Answer
    heat_map: "npt.NDArray[np.float32]"


class ExplainingRest:
    """Explanations over REST. `connect_explainer` makes one."""

    def __init__(self, http: Exchange, name: str, *, label: str | None, version: int | None) -> None:
        self.name = name
        self._http = http
        self._path = model_path(name, label=label, version=version)
        self._version = "" if version is None else str(version)

    def explain(self, image: bytes) -> Explanation:
        """The explanation of one encoded image.

        RejectedError where the server refuses the image, InputError where what it serves has no explanations; else as
        `Client.predict`.
        """
        import numpy as np

        instances = [{INPUT: {"b64": base64.b64encode(image).decode("ascii")}}]
        response, rows = self._ask(instances)
        row = rows[0] if isinstance(rows, list) and len(rows) == 1 else {}
        version = response.headers.get("x-slipway-version", self._version)
        answer = answer_from_row(row, version, str(self._http.address))
        heat_map = np.array(row.get("heat_map"), np.float32)
        if heat_map.ndim != 2:
            raise InputError(
                f"{self._http.address}: an explanation without a heat map; expected rows of numbers. "
                "Serve a version that Slipway built."
            )
        return Explanation(answer, heat_map)

    def close(self) -> None:
        """Close the connection."""
        self._http.close()

    def _ask(self, instances: list[Any]) -> tuple[Response, Any]:
        response, key = self._http.post(f"{self._path}:explain", {"instances": instances}), "explanations"
        if response.status == 400 and response.message.startswith("Malformed request"):  # it has no such verb
            document = {"signature_name": SIGNATURE, "instances": instances}
            response, key = self._http.post(f"{self._path}:predict", document), "predictions"
        if response.status == 501 or (response.status == 400 and "Serving signature name" in response.message):
            raise InputError(
                f"{self._http.address}: {response.message}. Or leave --address out, to ask the registry's."
            )
        if response.status != 200:
            raise failure(response, self.name, self._http)
        document = response.document
        return response, document.get(key) if isinstance(document, dict) else None


def connect_explainer(
    address: str, name: str, *, label: str | None = None, version: int | None = None, timeout_s: float = 60.0
) -> ExplainingRest:
    """A client of model `name` at `address`, `http://HOST:PORT` or `https://HOST:PORT`; raises as `connect` does."""
    where = parse_address(address)
    if where.is_grpc:
        raise InputError(f"--address {address}: explanations are asked for over REST. Pass http://HOST:PORT.")
    http = Http(where, timeout_s)
    try:
        check_known(http.get(model_path(name, label=label, version=version)), name, http)
    except BaseException:
        http.close()
        raise
    return ExplainingRest(http, name, label=label, version=version)
