"""Make a run's servable a version of a registered model, and read a version back as the gate's candidate."""

import math
from collections.abc import Mapping
from dataclasses import dataclass

from registry.card import CardFacts, model_card
from registry.client import ModelVersion, NewVersion, Registry
from registry.evaluation import Evaluation, load_evaluation
from registry.full_card import save_card
from registry.gate import Candidate
from slipway.errors import NotFoundError

MANIFEST_DIGEST = "slipway.manifest_digest"
MODEL_DIGEST = "slipway.model_digest"
DATASET_DIGEST = "slipway.dataset_digest"
GIT_COMMIT = "slipway.git_commit"
PARITY = "slipway.parity"
SIZE_BYTES = "slipway.size_bytes"
GATE = "slipway.gate"  # passed or refused
_ABOUT = "An image classifier: {network}; first trained on {data}. Each version's description is its model card."


@dataclass(frozen=True)
class Registration:
    """A sealed servable, logged as an MLflow model, and what is known about it."""

    source: str  # models:/m-... of the LoggedModel that holds the servable
    manifest_digest: str
    model_digest: str  # of the whole MLflow model's files
    parity: float
    size_bytes: int
    card: CardFacts
    evaluation: Evaluation | None


def register(registry: Registry, registration: Registration) -> ModelVersion:
    """Create the version, with its tags and its card; return the one there is if the run has one."""
    facts = registration.card
    present = registered(registry, facts.name, facts.run_id)
    if present is not None:
        return present
    save_card(registry, facts, registration.evaluation)
    created = registry.create_version(
        NewVersion(
            name=facts.name,
            source=registration.source,
            run_id=facts.run_id,
            tags={
                MANIFEST_DIGEST: registration.manifest_digest,
                MODEL_DIGEST: registration.model_digest,
                DATASET_DIGEST: facts.dataset_digest,
                GIT_COMMIT: facts.git_commit,
                PARITY: repr(registration.parity),
                SIZE_BYTES: str(registration.size_bytes),
            },
            description=model_card(facts, registration.evaluation),
        )
    )
    registry.describe_model(facts.name, _ABOUT.format(network=facts.network, data=facts.data))
    return created


def registered(registry: Registry, name: str, run_id: str) -> ModelVersion | None:
    """The version of `name` that was made from a run; None if there is none."""
    made = [each for each in _versions_if_any(registry, name) if each.run_id == run_id and MANIFEST_DIGEST in each.tags]
    return made[0] if made else None


def candidate(registry: Registry, version: ModelVersion, split_digest: str | None = None) -> Candidate:
    """A version as the gate sees it, evaluated on the split with that digest, or on its run's own."""
    size = _number(version.tags, SIZE_BYTES)
    return Candidate(
        name=version.name,
        version=version.version,
        evaluation=load_evaluation(registry, version.run_id, split_digest) if version.run_id else None,
        parity=_number(version.tags, PARITY),
        size_bytes=None if size is None else int(size),
    )


def _versions_if_any(registry: Registry, name: str) -> tuple[ModelVersion, ...]:
    try:
        return registry.versions(name)
    except NotFoundError:
        return ()


def _number(tags: Mapping[str, str], key: str) -> float | None:
    try:
        number = float(tags[key])
    except (KeyError, ValueError):
        return None
    return number if math.isfinite(number) else None
