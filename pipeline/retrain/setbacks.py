"""What became of earlier candidates: those that did not stay, and the one that is still being tried."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime

from pipeline.rollout.state import load_state
from registry.client import ModelVersion, Registry
from registry.deployment import DEPLOY, DEPLOY_TIME, ROLLED_BACK
from registry.ledger import CHALLENGER, CHAMPION, Ledger, LedgerEntry
from registry.register import DATASET_DIGEST

ENDING = "slipway.retrain"  # of a version: promoted, canary, refused
REFUSED_TIME = "slipway.retrain_refused_time"  # of a version that numbers refused, ISO 8601, UTC


@dataclass(frozen=True)
class Setbacks:
    """tried: what became of the candidate, by the digest of the images that it was trained on.

    last_s, last: when a candidate was refused by numbers, rolled back from or aborted, and in words, if no champion was
        promoted since.
    under_way: the candidate that is being tried now, in words; empty if there is none.
    """

    tried: Mapping[str, str] = field(default_factory=dict)
    last_s: float | None = None
    last: str = ""
    under_way: str = ""


def setbacks(registry: Registry, ledger: Ledger, name: str) -> Setbacks:
    """What the registry's versions and the ledger tell of a model's candidates."""
    challenger = registry.aliases(name).get(CHALLENGER)
    entries = [entry for entry in ledger.entries(name) if entry.alias == CHAMPION]
    champions = _champions(entries)
    tried: dict[str, str] = {}
    times: list[tuple[float, str]] = []
    under_way = ""
    for version in registry.versions(name):
        ours = version.tags.get(ENDING) == "canary"
        if ROLLED_BACK in version.tags:
            fate = f"version {version.version} was rolled back from"
            times += [(each.time_s, fate) for each in entries if _leaves(each, version)]
        elif version.version == challenger:
            fate = f"version {version.version} is the challenger"
            if ours or _is_rolled_out(ledger, version):
                under_way = f"{fate}: promote it, or withdraw it"
        elif REFUSED_TIME in version.tags and version.version not in champions:
            fate = f"version {version.version} was refused"
            refused_s = seconds_of(version.tags[REFUSED_TIME])
            times += [] if refused_s is None else [(refused_s, fate)]
        elif ours and version.version not in champions:
            fate = f"version {version.version} was withdrawn"
            aborted_s = seconds_of(version.tags.get(DEPLOY_TIME)) if version.tags.get(DEPLOY) == "refused" else None
            times += [] if aborted_s is None else [(aborted_s, fate)]
        else:
            continue
        tried[version.tags.get(DATASET_DIGEST, "")] = fate
    promoted_s = max(champions.values(), default=0.0)
    last_s, last = max((each for each in times if each[0] > promoted_s), default=(None, ""))
    return Setbacks(tried, last_s, last, under_way)


def _champions(entries: list[LedgerEntry]) -> dict[int | None, float]:
    """When each version was promoted that was champion, 0.0 if by nobody; one that was refused on its way never was."""
    found: dict[int | None, float] = {}
    for entry in entries:
        if entry.action == "refuse":
            found.pop(entry.from_version, None)
        elif entry.action == "promote":
            found[entry.to_version] = entry.time_s
        else:
            found.setdefault(entry.to_version, 0.0)
    return found


def _leaves(entry: LedgerEntry, version: ModelVersion) -> bool:
    return entry.action == "rollback" and entry.from_version == version.version


def _is_rolled_out(ledger: Ledger, version: ModelVersion) -> bool:
    state = load_state(ledger, version.name)
    return state is not None and not state.is_over and state.version == version.version


def seconds_of(iso: str | None) -> float | None:
    """A time in ISO 8601 as seconds since the epoch; None where there is none."""
    try:
        return datetime.fromisoformat(iso).timestamp() if iso else None
    except ValueError:
        return None
