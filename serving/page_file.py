"""`page.json` in a base path: what only the registry and the ledger know, for the page of an embedded server.

    {"format": "slipway.page/1", "mlflow": "http://127.0.0.1:5000", "models": {NAME: {"ledger_id": 3,
     "labels": {"stable": {"version": 2, "since": TIME, "actor": TEXT, "origin": TEXT, "reason": TEXT}},
     "ledger": [newest entry first, at most ten, each with the rules of its gate], "cards": {"2": MARKDOWN},
     "runs": {"2": RUN_ID}}}}

Who publishes writes it, a server only shows it: nothing is served, or refused, by what it says.
"""

import json
import math
from collections.abc import Mapping
from typing import Any

from slipway.errors import InputError

PAGE_FILE = "page.json"
FORMAT = "slipway.page/1"

Facts = Mapping[str, Any]


def page_file(mlflow: str | None, models: Mapping[str, Facts]) -> bytes:
    """The file's content. mlflow: the address of MLflow's UI, without credentials; None if it has none."""
    document = {"format": FORMAT, "mlflow": mlflow, "models": models}
    return json.dumps(document, sort_keys=True, indent=1, allow_nan=False).encode() + b"\n"


def parse_page_file(data: bytes, place: str) -> tuple[str | None, dict[str, Facts]]:
    """MLflow's address and each model's facts; InputError names `place` for a file that is none of ours."""
    try:
        return _parsed(json.loads(data, parse_constant=_no_number, parse_float=_finite))
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise InputError(
            f"{place}: not the facts of a page ({type(error).__name__}: {error}); expected {FORMAT}. "
            "Remove it, and run: slipway reconcile --once"
        ) from error


def _parsed(document: Any) -> tuple[str | None, dict[str, Facts]]:
    if document["format"] != FORMAT:
        raise ValueError(f"format is {document['format']!r:.40}")
    mlflow, models = document["mlflow"], document["models"]
    if not isinstance(mlflow, str | None) or not all(isinstance(each, dict) for each in models.values()):
        raise TypeError("a member is of another kind")
    return mlflow, models


def _finite(text: str) -> float:
    number = float(text)
    return number if math.isfinite(number) else _no_number(text)


def _no_number(text: str) -> float:
    raise ValueError(f"{text} is no number that a file may have")
