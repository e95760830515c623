"""What the registry knows for and of a retraining: facts that it is decided by, and tags that say how it ended."""

import contextlib
import time
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from pipeline.retrain.decision import Facts
from pipeline.retrain.outcome import Outcome
from registry.client import ModelVersion, Registry
from registry.ledger import CHAMPION
from registry.register import DATASET_DIGEST
from slipway.errors import NotFoundError

if TYPE_CHECKING:
    from pipeline.data import Dataset

# Of the registered model, and the first two of the version as well.
ENDING = "slipway.retrain"  # promoted, canary, refused, declined or failed
REASON = "slipway.retrain_reason"
TIME = "slipway.retrain_time"  # ISO 8601, UTC
RUN = "slipway.retrain_run"
REFUSED_TIME = "slipway.retrain_refused_time"  # of the last refusal, whatever came since
REFUSED_DATASET = "slipway.retrain_refused_dataset"

# Of the champion's version, by whoever looks for drift.
DRIFT, DRIFT_TIME = "slipway.drift", "slipway.drift_time"
_LONGEST = 500

Clock = Callable[[], float]


def champion_of(registry: Registry, name: str) -> ModelVersion | None:
    """The champion; None where there is none, or no such model yet."""
    try:
        return registry.by_alias(name, CHAMPION)
    except NotFoundError:
        return None


def facts(registry: Registry, name: str, dataset: "Dataset", clock: Clock = time.time) -> Facts:
    """What is known now about the champion, the images and the last refusal."""
    champion = champion_of(registry, name)
    digests = tuple(dict.fromkeys((dataset.digest, dataset.configured_digest, dataset.source_digest)))
    if champion is None and not _exists(registry, name):
        return Facts(clock(), digests)
    tags = registry.model(name).tags
    known = Facts(
        clock(), digests, refused_s=_seconds(tags.get(REFUSED_TIME)), refused_dataset=tags.get(REFUSED_DATASET, "")
    )
    if champion is None:
        return known
    return replace(
        known,
        champion=champion.version,
        champion_dataset=champion.tags.get(DATASET_DIGEST, ""),
        champion_since_s=champion.created_ms / 1000,
        drift=champion.tags.get(DRIFT, ""),
        drift_time=champion.tags.get(DRIFT_TIME, ""),
    )


def record(registry: Registry, outcome: Outcome, dataset: "Dataset", clock: Clock = time.time) -> None:
    """Say on the model, and on the version if there is one, how a retraining ended."""
    refused = {}
    if outcome.ending == "refused":
        refused = {REFUSED_DATASET: dataset.digest, REFUSED_TIME: _iso(clock())}
        if outcome.version is not None:
            registry.set_tags(outcome.name, outcome.version, {REASON: outcome.line()[:_LONGEST], ENDING: "refused"})
    elif outcome.version is not None:
        registry.set_tags(outcome.name, outcome.version, {REASON: outcome.line()[:_LONGEST], ENDING: outcome.ending})
    _tag(registry, outcome.name, outcome.ending, outcome.line(), outcome.run_id, clock(), refused)


def record_failure(registry: Registry, name: str, reason: str, run_id: str, clock: Clock = time.time) -> None:
    """Say on the model that a retraining failed, and why."""
    _tag(registry, name, "failed", reason, run_id, clock(), {})


def _tag(  # noqa: PLR0913, PLR0917 - a parameter a tag
    registry: Registry, name: str, ending: str, reason: str, run_id: str, time_s: float, also: dict[str, str]
) -> None:
    tags = {**also, REASON: reason[:_LONGEST], TIME: _iso(time_s), RUN: run_id, ENDING: ending}
    with contextlib.suppress(NotFoundError):  # no version of it has been registered yet
        registry.tag_model(name, tags)


def _exists(registry: Registry, name: str) -> bool:
    try:
        registry.model(name)
    except NotFoundError:
        return False
    return True


def _iso(time_s: float) -> str:
    return datetime.fromtimestamp(time_s, UTC).isoformat(timespec="seconds")


def _seconds(iso: str | None) -> float | None:
    try:
        return datetime.fromisoformat(iso).timestamp() if iso else None
    except ValueError:
        return None
