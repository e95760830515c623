"""What an embedded server saw of each version, and the true labels that it is told afterwards."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from serving.client.address import parse_address
from serving.client.credentials import DENIED_STATUSES, denied
from serving.client.http import Http, Response
from serving.client.tensorflow_serving_rest import model_path
from serving.observations import Observations, parse_observations
from slipway.errors import InputError, NotFoundError, UnavailableError

_ITEMS_A_REQUEST = 10_000


@dataclass(frozen=True)
class TrueLabel:
    """What the images of one answered request show, in order: of each its class, by name or by id."""

    request_id: str
    labels: tuple[str | int, ...]


@dataclass(frozen=True)
class Attached:
    """attached: how many requests got their labels. unknown: the ids that the server does not remember."""

    attached: int
    unknown: tuple[str, ...]


def read_observations(address: str, name: str, timeout_s: float = 10.0) -> Observations:
    """What the embedded server at the REST address has seen of model `name`.

    NotFoundError if it does not serve the model, UnavailableError if nothing answers, InputError if what answers is no
    embedded server.
    """
    with Http(parse_address(address), timeout_s) as http:
        place = f"{http.address}{model_path(name)}/observations"
        response = http.get(f"{model_path(name)}/observations")
        _check(response, place)
        return parse_observations(response.document, place)


def send_feedback(address: str, items: Sequence[TrueLabel], timeout_s: float = 60.0) -> Attached:
    """Tell the embedded server at the REST address what was to be answered; sending the same again counts once.

    InputError for a label that the version does not have, or another number of labels than of images; up to 10,000
    items are sent in one request, and of a request that is refused none is attached.
    """
    attached, unknown = 0, []
    with Http(parse_address(address), timeout_s) as http:
        for start in range(0, len(items), _ITEMS_A_REQUEST):
            part = items[start : start + _ITEMS_A_REQUEST]
            document = {"feedback": [{"request_id": item.request_id, "labels": list(item.labels)} for item in part]}
            response = http.post("/v1/feedback", document)
            _check(response, f"{http.address}/v1/feedback")
            answer: dict[str, Any] = response.document
            attached += int(answer["attached"])
            unknown += answer["unknown"]
    return Attached(attached, tuple(unknown))


def _check(response: Response, place: str) -> None:
    if response.status == 200 and isinstance(response.document, dict):
        return
    if response.status in DENIED_STATUSES:
        raise denied(place, response.message)
    if response.status == 404 and "Malformed request" not in response.message:
        raise NotFoundError(f"{place}: {response.message}; expected a model that is served there. Check --name.")
    if 400 <= response.status < 500 and response.status != 429:
        raise InputError(
            f"{place}: {response.message}; expected Slipway's embedded model server, and what it takes. "
            "Check the address, and what was sent."
        )
    raise UnavailableError(f"{place}: HTTP {response.status}: {response.message}. Try again, or look at its log.")
