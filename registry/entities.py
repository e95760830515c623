"""Registered models and their versions, as MLflow's registry has them."""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

SERVING = "slipway.serving"  # tag of a registered model: "true" says that its aliases and stages decide what is served
PRODUCTION = "Production"
STAGING = "Staging"
STAGE_OF = {"champion": PRODUCTION, "challenger": STAGING}  # an alias's name in MLflow's older UI

_LOGGED_MODEL = re.compile(r"models:/(m-[^/@]+)$")


@dataclass(frozen=True)
class RegisteredModel:
    """A registered model: what its aliases and its stages say, without its versions."""

    name: str
    aliases: Mapping[str, int]
    # Production, Staging: the version in it. Of several the one that came: it does not bear the stage's alias yet, and
    # of several such it was changed last.
    stages: Mapping[str, int]
    tags: Mapping[str, str]


@dataclass(frozen=True)
class ModelVersion:
    """One version of a registered model, as the registry has it now."""

    name: str
    version: int
    run_id: str
    source: str  # what was registered: `models:/m-...` (a LoggedModel), or an artifact address
    stage: str  # None, Staging, Production or Archived
    aliases: tuple[str, ...]
    tags: Mapping[str, str]
    created_ms: int  # since the epoch
    description: str
    model_id: str | None  # the LoggedModel's, when the version was made from one


@dataclass(frozen=True)
class NewVersion:
    """What a version is created from. `source` is `models:/m-...` or an artifact address."""

    name: str
    source: str
    run_id: str
    tags: Mapping[str, str]
    description: str


def to_model_version(version: Any, aliases: Mapping[str, int]) -> ModelVersion:
    """MLflow's version as ours. `aliases` are the model's: a version that was searched for has none itself."""
    number = int(version.version)
    return ModelVersion(
        name=version.name,
        version=number,
        run_id=version.run_id or "",
        source=version.source,
        stage=version.current_stage or "None",
        aliases=tuple(sorted(alias for alias, of in aliases.items() if of == number)),
        tags=dict(version.tags),
        created_ms=int(version.creation_timestamp),
        description=version.description or "",
        model_id=logged_model_id(version.source),
    )


def to_registered_model(model: Any, versions: Iterable[Any]) -> RegisteredModel:
    """MLflow's registered model as ours, its stages read from `versions`."""
    aliases = {alias: int(number) for alias, number in model.aliases.items()}
    stages: dict[str, int] = {}
    for version in sorted(versions, key=lambda each: (each.last_updated_timestamp or 0, int(each.version))):
        number = int(version.version)
        for alias, stage in STAGE_OF.items():
            if version.current_stage == stage and (stage not in stages or number != aliases.get(alias)):
                stages[stage] = number
    return RegisteredModel(model.name, aliases, stages, dict(model.tags))


def logged_model_id(source: str) -> str | None:
    """The id of the LoggedModel that a version was made from; None when it was made from something else."""
    match = _LOGGED_MODEL.fullmatch(source)
    return match[1] if match else None
