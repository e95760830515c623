"""What the registry knows for and of a retraining: facts that it is decided by, and tags that say how it ended."""

import contextlib
import time
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from pipeline.retrain.decision import Facts
from pipeline.retrain.outcome import Outcome
from pipeline.retrain.setbacks import ENDING, REFUSED_TIME, setbacks
from registry.client import ModelVersion, Registry
from registry.ledger import CHAMPION, Ledger
from registry.register import DATASET_DIGEST
from slipway.errors import NotFoundError

if TYPE_CHECKING:
    from pipeline.data import Dataset

# Of the registered model, beside ENDING (declined and failed, too); that and the first one of the version as well.
REASON = "slipway.retrain_reason"
TIME = "slipway.retrain_time"  # ISO 8601, UTC
RUN = "slipway.retrain_run"

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


def facts(registry: Registry, ledger: Ledger, name: str, dataset: "Dataset", clock: Clock = time.time) -> Facts:
    """What is known now about the champion, the images and earlier candidates."""
    champion = champion_of(registry, name)
    digests = tuple(dict.fromkeys(filter(None, (dataset.digest, dataset.configured_digest, dataset.source_digest))))
    if champion is None and not _exists(registry, name):
        return Facts(clock(), digests)
    earlier = setbacks(registry, ledger, name)
    known = Facts(
        clock(),
        digests,
        tried=earlier.tried,
        setback_s=earlier.last_s,
        setback=earlier.last,
        under_way=earlier.under_way,
    )
    if champion is None:
        return known
    return replace(
        known,
        champion=champion.version,
        champion_dataset=champion.tags.get(DATASET_DIGEST, ""),
        champion_since_s=champion.created_ms / 1000,
        champion_retrained=ENDING in champion.tags,
        drift=champion.tags.get(DRIFT, ""),
        drift_time=champion.tags.get(DRIFT_TIME, ""),
    )


def record(registry: Registry, outcome: Outcome, clock: Clock = time.time) -> None:
    """Say on the model, and on the version if there is one, how a retraining ended.

    Images count as tried, and a cool-down begins, where numbers refused: what a server did not do it may do tomorrow.
    """
    if outcome.version is not None:
        tags = {REASON: outcome.line()[:_LONGEST], ENDING: outcome.ending}
        refused = {REFUSED_TIME: _iso(clock())} if outcome.refused_by_numbers else {}
        registry.set_tags(outcome.name, outcome.version, {**tags, **refused})
    _tag(registry, outcome.name, outcome.ending, outcome.line(), outcome.run_id, clock())


def record_failure(registry: Registry, name: str, reason: str, run_id: str, clock: Clock = time.time) -> None:
    """Say on the model that a retraining failed, and why."""
    _tag(registry, name, "failed", reason, run_id, clock())


def _tag(registry: Registry, name: str, ending: str, reason: str, run_id: str, time_s: float) -> None:
    tags = {REASON: reason[:_LONGEST], TIME: _iso(time_s), RUN: run_id, ENDING: ending}
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
