"""`deployments.json` in a base path: which deployments were made of what. What is live of them the config files say.

{"deployments": {"trial": {"model_uri": "models:/resnet50@challenger", "model": "resnet50"}}}
"""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass

from serving.stores import Store
from slipway.errors import InputError

DEPLOYMENTS_FILE = "deployments.json"


@dataclass(frozen=True)
class Record:
    """model_uri: as it was given. model: the registered model that it named."""

    model_uri: str
    model: str


def read_records(store: Store) -> Mapping[str, Record]:
    """Every deployment, by name; InputError if the file is none of ours."""
    return _parsed(store.update_file(DEPLOYMENTS_FILE, lambda present: present))


def keep_record(store: Store, name: str, record: Record | None) -> None:
    """Put the record of `name` in the place of the one there is; None takes it away."""

    def update(present: bytes | None) -> bytes | None:
        records = {key: asdict(each) for key, each in _parsed(present).items() if key != name}
        if record is not None:
            records[name] = asdict(record)
        return (
            json.dumps({"deployments": dict(sorted(records.items()))}, indent=1).encode() + b"\n" if records else None
        )

    store.update_file(DEPLOYMENTS_FILE, update)


def _parsed(content: bytes | None) -> dict[str, Record]:
    if content is None:
        return {}
    try:
        return {name: Record(**fields) for name, fields in json.loads(content)["deployments"].items()}
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
        raise InputError(
            f"{DEPLOYMENTS_FILE}: no record of deployments ({type(error).__name__}: {error}). Correct the file, or "
            "move it away; what is served stays."
        ) from error
