"""A rollout as the command line asks for it: labels sent, then one look, or many, or its end."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from pipeline.config import Config
from pipeline.progress import report
from pipeline.reconcile.world import World, open_world
from pipeline.rollout.labels import read_labels, send_labels
from pipeline.rollout.looking import ChoosePolicy, Conduct, Outcome, abort, look
from pipeline.rollout.policy import RolloutPolicy
from pipeline.rollout.state import load_state
from pipeline.rollout.watching import watch
from registry.client import ModelVersion
from registry.gate import GateReport
from registry.lease import renewed_lease

_LEASE_S = 30.0


@dataclass(frozen=True)
class Request:
    """What is asked for.

    policy: what is asked for, given the one that the rollout began with. watch: look until it is over. labels: a CSV
    file of true labels to send first. abort: why to end it, or "".
    """

    policy: ChoosePolicy
    watch: bool = False
    labels: str = ""
    abort: str = ""


def conduct(config: Config, request: Request, gate: Callable[[ModelVersion], GateReport]) -> Outcome:
    """Do it, as the only one for this model; ConflictError if another process conducts its rollout."""
    labels = read_labels(Path(request.labels)) if request.labels else ()
    with open_world(config) as world, renewed_lease(world.ledger, f"rollout {config.name}", _LEASE_S):
        policy = _policy(world, request)
        if labels:
            report(send_labels(policy.addresses, labels).text())
        how = Conduct(world, request.policy, gate)
        if request.abort:
            return abort(how, request.abort)
        return watch(how, policy.look_interval_s, report) if request.watch else look(how)


def _policy(world: World, request: Request) -> RolloutPolicy:
    state = load_state(world.ledger, world.config.name)
    return request.policy(None if state is None or state.is_over else state.policy)
