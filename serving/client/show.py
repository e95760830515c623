"""Predictions as text: a table for people, one JSON document for programs."""

import json
from collections.abc import Sequence
from dataclasses import asdict

from serving.client.answers import Prediction

_HEADINGS = ("file", "label", "probability", "model", "version")


def as_table(predictions: Sequence[Prediction]) -> str:
    """Return aligned columns: file, label, probability, model, version ('-' where the server does not say it)."""
    rows = [_HEADINGS, *((p.file, p.label, f"{p.probability:.4f}", p.model, p.version or "-") for p in predictions)]
    widths = [max(len(row[column]) for row in rows) for column in range(len(_HEADINGS))]
    return "\n".join("  ".join(map(str.ljust, row, widths)).rstrip() for row in rows)


def as_json(predictions: Sequence[Prediction]) -> str:
    """Return `{"predictions": [...]}` with every field of every prediction, probabilities in full."""
    return json.dumps({"predictions": [asdict(prediction) for prediction in predictions]}, indent=2, ensure_ascii=False)
