"""A rollout as the command line asks for it: labels sent, then one look, or many, or its end."""

import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

from pipeline.config import Config
from pipeline.progress import report
from pipeline.reconcile.world import World, open_world
from pipeline.rollout.labels import as_sent, published_names, read_labels, send_labels
from pipeline.rollout.looking import ChoosePolicy, Conduct, Outcome, abort, look
from pipeline.rollout.policy import RolloutPolicy
from pipeline.rollout.state import load_state
from pipeline.rollout.watching import watch
from registry.client import ModelVersion
from registry.gate import GateReport
from registry.lease import Lease, renewed_lease
from slipway.errors import ConflictError

_LEASE_S = 30.0
_RENEWED_S = _LEASE_S / 3 + 1.0


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
    with open_world(config) as opened, renewed_lease(opened.ledger, f"rollout {config.name}", _LEASE_S) as held:
        world = replace(opened, check=lambda: check(held))
        policy = _policy(world, request)
        if labels:
            sent = as_sent(labels, published_names(config.base, config.name))
            report(send_labels(policy.addresses, sent).text())
        how = Conduct(world, request.policy, gate)
        if request.abort:
            return abort(how, request.abort)
        return watch(how, policy.look_interval_s, report) if request.watch else look(how)


def check(held: Lease, rest: Callable[[float], None] = time.sleep) -> None:
    """ConflictError once another process has the lease; one that a ledger's absence let run out is renewed soon."""
    try:
        held.check()
    except ConflictError:
        rest(_RENEWED_S)
        held.check()


def _policy(world: World, request: Request) -> RolloutPolicy:
    state = load_state(world.ledger, world.config.name)
    return request.policy(None if state is None or state.is_over else state.policy)
