"""The dashboard asks for what there is."""

import json
import re

import pytest

from tests.monitoring.prometheus_rule import DEPLOY
from tests.monitoring.test_rules import check

DASHBOARD = json.loads((DEPLOY / "grafana" / "slipway.json").read_text(encoding="utf-8"))
PANELS = [panel for panel in DASHBOARD["panels"] if panel["type"] != "row"]
QUERIES = [target["expr"] for panel in PANELS for target in panel["targets"]]
QUERIES += [annotation["expr"] for annotation in DASHBOARD["annotations"]["list"]]
VARIABLES = {each["name"]: each for each in DASHBOARD["templating"]["list"]}


@pytest.mark.parametrize("query", QUERIES)
def test_a_query_names_metrics_and_labels_that_there_are(query):
    check(query)


def test_variables_are_the_source_the_model_and_the_version_and_all_are_used():
    assert list(VARIABLES) == ["datasource", "model", "version"]
    for name in ("model", "version"):
        asked = re.fullmatch(r"label_values\((.+), (\w+)\)", VARIABLES[name]["query"]["query"])
        check(f"sum by ({asked[2]}) ({asked[1]})")
    used = set(re.findall(r"\$(?!__)\{?(\w+)", json.dumps(DASHBOARD["panels"])))
    assert used == set(VARIABLES)


def test_every_query_goes_to_the_source_that_is_chosen():
    sources = [target["datasource"] for panel in PANELS for target in (panel, *panel["targets"])]
    assert {source["uid"] for source in sources} == {"${datasource}"}


def test_rows_are_those_of_the_page_and_no_panel_lies_on_another():
    rows = [panel["title"] for panel in DASHBOARD["panels"] if panel["type"] == "row"]
    assert rows == [
        *("Traffic", "Latency", "Errors", "Batches and queue", "Swaps", "Canary against stable", "Drift", "Retraining"),
        "Ledger and reconcile",
    ]
    taken = set()
    for panel in DASHBOARD["panels"]:
        at = panel["gridPos"]
        cells = {(x, y) for x in range(at["x"], at["x"] + at["w"]) for y in range(at["y"], at["y"] + at["h"])}
        assert not cells & taken
        assert at["x"] + at["w"] <= 24
        taken |= cells
    assert len({panel["id"] for panel in DASHBOARD["panels"]}) == len(DASHBOARD["panels"])
