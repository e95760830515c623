"""docs/monitoring.md names each metric and each alert, with its labels."""

import re

import pytest

from tests.docs.tables import DOCS, shown
from tests.monitoring import pages
from tests.monitoring.test_rules import ALERTS

PAGE = "monitoring.md"


def in_table(heading):
    """The table's metrics with their labels; `the same` and `the same without x` refer to the row above."""
    found, above = {}, set()
    for name, labels in re.findall(r"^\| `([^`]+)` \| ([^|]*)\|", shown(PAGE, heading), re.MULTILINE):
        named = set(re.findall(r"`(\w+)`", labels))
        if "the same" in labels:
            named = above - named
        found[name], above = named, named
    return found


def on_page(families):
    return {f"{name}_total" if kind == "counter" else name: labels for name, kind, labels in families}


@pytest.mark.parametrize(
    ("heading", "families"),
    [
        ("The model server's", pages.server_families),
        ("The life cycle's", pages.lifecycle_families),
        ("The sync sidecar's", pages.sync_families),
    ],
)
def test_each_metric_has_a_row_with_its_labels(heading, families):
    assert in_table(heading) == on_page(families())


def test_each_alert_has_a_row():
    text = (DOCS / PAGE).read_text(encoding="utf-8")
    assert set(re.findall(r"`(Slipway\w+)`", text)) == set(ALERTS)
