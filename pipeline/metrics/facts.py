"""What the registry's tags and the ledger say of each served model, read in one go."""

import json
import math
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from datetime import datetime

from registry.client import ModelVersion, RegisteredModel, Registry
from registry.ledger import CHAMPION, Ledger
from registry.register import DATASET_DIGEST

DRIFT, DRIFT_TIME, DRIFT_MEASURES = "slipway.drift", "slipway.drift_time", "slipway.drift_measures"
RETRAIN, RETRAIN_TIME = "slipway.retrain", "slipway.retrain_time"
_JUDGED = {"found": True, "none": False}
_DIGITS = 32  # of a dataset's digest, by which its versions are searched for


@dataclass(frozen=True)
class Drift:
    """The last check of the champion. found: None where there was too little to judge by."""

    found: bool | None
    time_s: float | None
    statistics: Mapping[str, float] = field(default_factory=dict)  # by measure


@dataclass(frozen=True)
class Champion:
    """The version that bears the alias. Times are since the epoch."""

    version: int
    made_s: float  # registered
    data_s: float | None  # the first version of the model from the same dataset was registered
    drift: Drift | None


@dataclass(frozen=True)
class ModelFacts:
    """One model. retrained: how the last retraining ended, and when. entries: of the ledger, by action."""

    name: str
    champion: Champion | None
    retrained: tuple[str, float] | None
    entries: Mapping[str, int]


class Reader:
    """Reads the facts of all models that are served. To be used by one thread."""

    def __init__(self, registry: Registry, ledger: Ledger, also: Collection[str] = ()) -> None:
        self._registry = registry
        self._ledger = ledger
        self._also = also
        self._data_s: dict[tuple[str, str], float] = {}  # by model and dataset: the first one stays the first

    def read(self) -> tuple[ModelFacts, ...]:
        """The facts as they are now; UnavailableError if the registry or the ledger does not answer."""
        return tuple(self._facts(model) for model in self._registry.served_models(self._also))

    def _facts(self, model: RegisteredModel) -> ModelFacts:
        number = model.aliases.get(CHAMPION)
        champion = None if number is None else self._champion(self._registry.version(model.name, number))
        outcome, time_s = model.tags.get(RETRAIN), epoch_s(model.tags.get(RETRAIN_TIME, ""))
        retrained = None if outcome is None or time_s is None else (outcome, time_s)
        return ModelFacts(model.name, champion, retrained, self._ledger.actions(model.name))

    def _champion(self, version: ModelVersion) -> Champion:
        digest = version.tags.get(DATASET_DIGEST, "")
        data_s = self._first_s(version.name, digest) if digest.isalnum() else None
        return Champion(version.version, version.created_ms / 1000, data_s, drift_of(version.tags))

    def _first_s(self, name: str, digest: str) -> float | None:
        known = self._data_s.get((name, digest))
        if known is None:
            same = [
                each.created_ms / 1000
                for each in self._registry.versions_tagged(DATASET_DIGEST, digest[:_DIGITS])
                if each.name == name and each.tags.get(DATASET_DIGEST) == digest
            ]
            if not same:
                return None
            known = self._data_s[name, digest] = min(same)
        return known


def drift_of(tags: Mapping[str, str]) -> Drift | None:
    """What a version's tags say of its drift; None if it was never looked for."""
    if DRIFT not in tags:
        return None
    return Drift(_JUDGED.get(tags[DRIFT]), epoch_s(tags.get(DRIFT_TIME, "")), _statistics(tags.get(DRIFT_MEASURES, "")))


def epoch_s(text: str) -> float | None:
    """A time in ISO 8601 as seconds since the epoch; None for what is none. Tags can be edited by hand."""
    try:
        return datetime.fromisoformat(text).timestamp()
    except ValueError:
        return None


def _statistics(text: str) -> dict[str, float]:
    try:
        measures = json.loads(text)
    except ValueError:
        return {}
    found = {}
    for measure, result in measures.items() if isinstance(measures, dict) else ():
        number = result.get("statistic") if isinstance(result, dict) else None
        if isinstance(number, int | float) and math.isfinite(number):
            found[str(measure)] = float(number)
    return found
