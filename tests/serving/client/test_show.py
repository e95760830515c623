"""Predictions as a table and as JSON."""

import json

from serving.client import Prediction, as_json, as_table

PREDICTIONS = [
    Prediction("a.png", "cat", 0, 0.98765432, (0.98765432, 0.01234568), "pets", "7"),
    Prediction("folder/b.png", "a long label", 1, 0.5, (0.5, 0.5), "pets", ""),
]


def test_the_table_is_aligned():
    """Columns line up, and an unknown version is a dash."""
    assert as_table(PREDICTIONS).split("\n") == [
        "file          label         probability  model  version",
        "a.png         cat           0.9877       pets   7",
        "folder/b.png  a long label  0.5000       pets   -",
    ]


def test_the_json_is_one_document_with_everything():
    """Programs get every field and the full probabilities."""
    document = json.loads(as_json(PREDICTIONS))
    assert document["predictions"][0] == {
        "file": "a.png",
        "label": "cat",
        "class_id": 0,
        "probability": 0.98765432,
        "output": [0.98765432, 0.01234568],
        "model": "pets",
        "version": "7",
    }
    assert len(document["predictions"]) == 2


def test_no_prediction_is_an_empty_document():
    """Nothing asked gives valid JSON and a table of headings alone."""
    assert json.loads(as_json([])) == {"predictions": []}
    assert as_table([]) == "file  label  probability  model  version"
