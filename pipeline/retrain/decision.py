"""Whether to train at all: a pure function of what is known about champion, images, drift and earlier candidates."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from pipeline.retrain.config import RetrainConfig

HOUR_S, DAY_S = 3600.0, 86_400.0


@dataclass(frozen=True)
class Facts:
    """What a decision is made from. Times are seconds since the epoch.

    datasets: the digest of the images as they are, with and without those of the regression set.
    champion_dataset: the digest of those that the champion was trained on. champion_retrained: whether a retraining has
        made it. drift: found, none, unknown, or "" where nobody has looked.
    tried: what became of the candidate that was trained on the images with a digest, where it did not stay.
    setback_s, setback: when a candidate last did not stay, and what became of it. under_way: the candidate that is
        being tried now, or "".
    """

    now_s: float
    datasets: tuple[str, ...]
    champion: int | None = None
    champion_dataset: str = ""
    champion_since_s: float = 0.0
    champion_retrained: bool = False
    drift: str = ""
    drift_time: str = ""
    tried: Mapping[str, str] = field(default_factory=dict)
    setback_s: float | None = None
    setback: str = ""
    under_way: str = ""


@dataclass(frozen=True)
class Decision:
    """Whether to train, and in words why, or why not."""

    train: bool
    why: str


def decide(facts: Facts, config: RetrainConfig, *, force: bool = False) -> Decision:
    """Train where there is a reason, no candidate is being tried and no setback is too fresh; `force` needs none."""
    reasons = _reasons(facts, config)
    if force:
        return Decision(train=True, why="; ".join(["forced", *reasons]))
    if not reasons:
        return Decision(train=False, why=_nothing(facts, config))
    wait = _wait(facts, config)
    if wait:
        return Decision(train=False, why=f"{wait} (--force passes it); there would be a reason: {'; '.join(reasons)}")
    return Decision(train=True, why="; ".join(reasons))


def _wait(facts: Facts, config: RetrainConfig) -> str:
    """What is to be waited for; empty if nothing is."""
    if facts.under_way:
        return facts.under_way
    if facts.setback_s is None:
        return ""
    rest_h = config.cool_down_hours - (facts.now_s - facts.setback_s) / HOUR_S
    return f"{facts.setback}, and the cool-down lasts {rest_h:.1f} hours more" if rest_h > 0 else ""


def _reasons(facts: Facts, config: RetrainConfig) -> list[str]:
    if facts.champion is None:
        return ["there is no champion"]
    reasons = []
    if facts.champion_dataset not in facts.datasets and not _tried(facts):
        reasons.append(f"new data: dataset {facts.datasets[0][:12]}, the champion's is {facts.champion_dataset[:12]}")
    return reasons if _are_learned(facts) else [*reasons, *_repeating(facts, config)]


def _repeating(facts: Facts, config: RetrainConfig) -> list[str]:
    """The reasons that a training need not end."""
    reasons = []
    if facts.drift == "found":
        reasons.append("drift was found" + (f" at {facts.drift_time}" if facts.drift_time else ""))
    age_days = (facts.now_s - facts.champion_since_s) / DAY_S
    if 0 < config.max_age_days < age_days:
        reasons.append(f"the champion is {age_days:.1f} days old, more than {config.max_age_days:g}")
    return reasons


def _are_learned(facts: Facts) -> bool:
    """Whether a retraining has learned these very images, for the champion or for a candidate that did not stay.

    Once more on them, night after night for the same drift, would move the champion within the gate's margin each
    time, and always down if chance will have it.
    """
    return bool(_tried(facts)) or (facts.champion_retrained and facts.champion_dataset in facts.datasets)


def _tried(facts: Facts) -> str:
    """The digest by which the images are those of a candidate that did not stay; empty if they are not."""
    return next((digest for digest in facts.datasets if digest in facts.tried), "")


def _nothing(facts: Facts, config: RetrainConfig) -> str:
    """What was looked at, and gave no reason."""
    if facts.champion_dataset in facts.datasets:
        data = f"dataset {facts.champion_dataset[:12]} is the one that champion version {facts.champion} was trained on"
    else:
        digest = _tried(facts)
        data = f"dataset {digest[:12]} is the one whose candidate {facts.tried[digest]}"
    drift = {"none": "no drift", "": "nobody has looked for drift", "found": "drift was found"}.get(facts.drift)
    drift = drift or f"drift is {facts.drift}"
    age = f"age {(facts.now_s - facts.champion_since_s) / DAY_S:.1f} days"
    limit = f" of {config.max_age_days:g}" if config.max_age_days else ", which is no reason"
    more = ", and a retraining has learned these images already: add others" if _are_learned(facts) else ""
    return f"nothing to learn: {data}{more}; {drift}; {age}{limit}"
