"""The file that carries what only the registry and the ledger know to the page of a server."""

import json

import pytest

from serving.page_file import page_file, parse_page_file
from slipway.errors import InputError

FACTS = {"ledger_id": 3, "labels": {}, "ledger": [], "cards": {}}


def test_what_is_written_is_read_back():
    data = page_file("http://127.0.0.1:5000", {"digits": FACTS})
    assert parse_page_file(data, "page.json") == ("http://127.0.0.1:5000", {"digits": FACTS})


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"[]",
        b"{}",
        b"\xff",
        b'{"format": "slipway.page/2", "mlflow": null, "models": {}}',
        b'{"format": "slipway.page/1", "mlflow": 3, "models": {}}',
        b'{"format": "slipway.page/1", "mlflow": null, "models": []}',
        b'{"format": "slipway.page/1", "mlflow": null, "models": {"m": 1}}',
        b'{"format": "slipway.page/1", "mlflow": null, "models": {"m": {"age": NaN}}}',
        b'{"format": "slipway.page/1", "mlflow": null, "models": {"m": {"age": 1e999}}}',
        b'{"format": "slipway.page/1", "mlflow": null, "models": {"m": {"age": [-1e999]}}}',
        b"[" * 100_000,
    ],
)
def test_a_file_that_is_none_of_ours_is_refused_with_its_place_and_what_mends_it(data):
    with pytest.raises(InputError, match=r"^x/page\.json: .*expected slipway\.page/1\. .*reconcile --once"):
        parse_page_file(data, "x/page.json")


def test_a_file_has_no_number_that_json_does_not_have():
    with pytest.raises(ValueError, match="Out of range"):
        page_file(None, {"digits": {"age": float("nan")}})
    assert json.loads(page_file(None, {}))["mlflow"] is None
