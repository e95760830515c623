"""The body of `POST /v1/feedback`: true labels for answered requests."""

from typing import Any

import orjson

from serving.model_server.answered import Feedback
from serving.model_server.errors import ServingError, invalid_argument
from serving.request_ids import parse_request_id
from slipway.errors import InputError

_EXPECTED = (
    'expected {"request_id": ID, "label": CLASS}, with "labels": [CLASS, ...] for a request of several images, or '
    '{"feedback": [...]} of such'
)


def parse_feedback(body: bytes) -> list[Feedback]:
    """The items of a body; ServingError INVALID_ARGUMENT says which one is wrong."""
    try:
        document = orjson.loads(body)
    except ValueError as error:
        raise invalid_argument(f"JSON Parse error: {error}; {_EXPECTED}.") from error
    items = document.get("feedback", [document]) if isinstance(document, dict) else None
    if not isinstance(items, list):
        raise invalid_argument(f"{_shown(document)}: {_EXPECTED}.")
    return [_item(item) for item in items]


def feedback_json(attached: int, unknown: list[str]) -> bytes:
    """The answer."""
    return orjson.dumps({"attached": attached, "unknown": unknown})


def _item(item: Any) -> Feedback:
    if not isinstance(item, dict) or not isinstance(item.get("request_id"), str):
        raise invalid_argument(f"{_shown(item)}: {_EXPECTED}.")
    try:
        parse_request_id(item["request_id"])
    except InputError as error:
        raise invalid_argument(str(error)) from error
    labels = item.get("labels", [item.get("label")])
    if ("label" in item) == ("labels" in item) or not isinstance(labels, list) or not all(map(_is_class, labels)):
        raise _wrong(item)
    return Feedback(item["request_id"], tuple(labels))


def _wrong(item: Any) -> ServingError:
    return invalid_argument(f"{_shown(item)}: a label or labels, each a name or a class's id; {_EXPECTED}.")


def _is_class(label: Any) -> bool:
    return isinstance(label, str) or (isinstance(label, int) and not isinstance(label, bool) and label >= 0)


def _shown(value: Any) -> str:
    return f"{value!r:.120}"
