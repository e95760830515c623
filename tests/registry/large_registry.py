"""A registry of many models and versions, written into MLflow's own tables: through its API it would take an hour."""

import contextlib
import sqlite3

_CARD = "Some words of a model card. " * 100
_TAGS = ("manifest_digest", "model_digest", "dataset_digest", "git_commit", "parity", "size_bytes", "gate")


def fill(database, models, versions, served):
    """Put `models` models of `versions` versions each into MLflow's SQLite file; the first `served` are tagged as such.

    The champion of a served model is its last version but one, in Production. Returns the names of the served ones.
    """
    names = [f"model-{number:04}" for number in range(models)]
    each = [(name, version) for name in names for version in range(1, versions + 1)]
    with contextlib.closing(sqlite3.connect(database)) as connection, connection:
        connection.executemany(
            "INSERT INTO registered_models (name, creation_time, last_updated_time) VALUES (?, 1, 1)",
            [(name,) for name in names],
        )
        connection.executemany(
            "INSERT INTO model_versions"
            " (name, version, creation_time, last_updated_time, description, current_stage, source, run_id, status)"
            " VALUES (?, ?, ?, ?, ?, ?, ?, ?, 'READY')",
            [(*key, key[1], key[1], _CARD, _stage(key[1], versions), "models:/m-0", f"{key[1]:032}") for key in each],
        )
        connection.executemany(
            "INSERT INTO model_version_tags (name, version, key, value) VALUES (?, ?, ?, ?)",
            [(name, version, f"slipway.{tag}", "0" * 64) for name, version in each for tag in _TAGS],
        )
        connection.executemany(
            "INSERT INTO registered_model_aliases (name, alias, version) VALUES (?, 'champion', ?)",
            [(name, versions - 1) for name in names],
        )
        connection.executemany(
            "INSERT INTO registered_model_tags (name, key, value) VALUES (?, 'slipway.serving', 'true')",
            [(name,) for name in names[:served]],
        )
    return names[:served]


def _stage(version, versions):
    return "Production" if version == versions - 1 else "Archived" if version == versions - 2 else "None"
