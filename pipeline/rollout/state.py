"""A rollout as it is kept between two looks: whoever goes on with it begins here."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

from pipeline.reconcile.world import World
from pipeline.rollout.arms import Arm, arm_from
from pipeline.rollout.policy import RolloutPolicy
from pipeline.rollout.progress import Progress, progress_from
from registry.ledger import Ledger
from registry.rollouts import load_rollout, save_rollout
from serving.traffic import Traffic

# running -> aborting -> aborted, or running -> promoting -> promoted; left: somebody else moved what it was about.
Phase = Literal["running", "aborting", "aborted", "promoting", "promoted", "leaving", "left"]

_FORMAT = "slipway.rollout/2"


@dataclass(frozen=True, eq=False)
class RolloutState:
    """One rollout.

    id: random, the MLflow run's tag too. version, against: candidate and stable version. counters: of the servers, at
    the last look. reason: why it ends, or ended. unrecorded: a report that the ledger and the MLflow run do not have
    yet. noted: what the last entry of the ledger said, so that a hold that goes on is one entry. standing: the traffic
    that somebody had set before; None: none.
    """

    id: str
    name: str
    version: int
    against: int
    policy: RolloutPolicy
    started_s: float
    phase: Phase = "running"
    reason: str = ""
    progress: Progress = field(default_factory=Progress)
    counters: Mapping[str, Mapping[str, Arm]] = field(default_factory=dict)
    unrecorded: Mapping[str, Any] | None = None
    noted: str = ""
    standing: Traffic | None = None

    @property
    def is_over(self) -> bool:
        return self.phase in {"aborted", "promoted", "left"}


def save_state(ledger: Ledger, state: RolloutState) -> None:
    """Keep a rollout, in one step."""
    document = {
        "format": _FORMAT,
        "id": state.id,
        "name": state.name,
        "version": state.version,
        "against": state.against,
        "policy": asdict(state.policy),
        "started_s": state.started_s,
        "phase": state.phase,
        "reason": state.reason,
        "progress": state.progress.as_dict(),
        "counters": {
            server: {version: arm.as_dict() for version, arm in arms.items()} for server, arms in state.counters.items()
        },
        "unrecorded": state.unrecorded,
        "noted": state.noted,
        "standing": None if state.standing is None else asdict(state.standing),
    }
    save_rollout(ledger, state.name, state.version, document)


def keep_state(world: World, state: RolloutState) -> None:
    """The same, if it is still this process that conducts the rollout; else ConflictError."""
    world.check()
    save_state(world.ledger, state)


def load_state(ledger: Ledger, name: str) -> RolloutState | None:
    """The model's last rollout; None if it had none, or one that another release of Slipway kept otherwise."""
    document = load_rollout(ledger, name)
    if document is None or document.get("format") != _FORMAT:
        return None
    return RolloutState(
        id=document["id"],
        name=document["name"],
        version=document["version"],
        against=document["against"],
        policy=RolloutPolicy(**document["policy"]),
        started_s=document["started_s"],
        phase=document["phase"],
        reason=document["reason"],
        progress=progress_from(document["progress"]),
        counters={
            server: {version: arm_from(arm) for version, arm in arms.items()}
            for server, arms in document["counters"].items()
        },
        unrecorded=document["unrecorded"],
        noted=document["noted"],
        standing=None if document["standing"] is None else Traffic(**document["standing"]),
    )
