"""How a rollout ends. Every part can be done again: whoever is killed in between is followed by the next look."""

from dataclasses import replace

from pipeline.promotion import Why, to_champion
from pipeline.reconcile.settle import settle
from pipeline.reconcile.world import World
from pipeline.rollout.record import ACTION, end_run, recorded
from pipeline.rollout.state import RolloutState, save_state
from registry.deployment import note
from registry.entities import STAGE_OF
from registry.gate import GateReport
from registry.lease import lease
from registry.ledger import CHALLENGER, CHAMPION
from registry.outcome import LEASE_S
from serving.traffic import TRAFFIC_FILE, Traffic, parse_traffic, traffic_config
from slipway.errors import UnavailableError

_WAIT_S = 60.0


def send_traffic(world: World, name: str, traffic: Traffic | None) -> None:
    """Have the servers split the model's traffic so, or not at all; nothing is written where they do."""
    world.store.update_file(TRAFFIC_FILE, lambda present: _with(present, name, traffic))


def finish_abort(world: World, state: RolloutState) -> RolloutState:
    """The candidate's traffic ends first; then it is tagged, is the challenger no more, and the ledger says why."""
    send_traffic(world, state.name, None)
    save_state(world.ledger, state)
    note(world.registry, state.name, state.version, "refused", state.reason, world.clock())
    _withdraw(world, state)
    return _over(world, replace(recorded(world, state), phase="aborted"))


def finish_promotion(world: World, state: RolloutState, gate: GateReport | None) -> RolloutState:
    """The candidate becomes champion, by the gate's leave, and goes live; only then does the split end.

    gate: None where alias and ledger say so already. Ends as aborted, with the reason, where a server refuses it;
    UnavailableError where nobody can tell now.
    """
    state = recorded(world, state)
    name, version = state.name, state.version
    if gate is not None:
        why = Why(state.reason, origin=ACTION)
        settled = to_champion(world.config, world.registry.version(name, version), gate, why).settled
    else:
        settled = settle(world, name, version, CHAMPION)
    assert settled is not None
    found = settled.of(name)
    if found.failed:
        raise UnavailableError(f"{name} version {version} is not live yet: {found.failed}")
    refused = found.refused.get(version, "")
    send_traffic(world, name, None)
    if refused:
        return _over(world, replace(state, phase="aborted", reason=refused))
    return _over(world, replace(state, phase="promoted"))


def finish_leaving(world: World, state: RolloutState) -> RolloutState:
    """End a rollout whose subject somebody else has moved: its traffic ends, and the version is not judged."""
    send_traffic(world, state.name, None)
    save_state(world.ledger, state)
    return _over(world, replace(recorded(world, state), phase="left"))


def _over(world: World, state: RolloutState) -> RolloutState:
    end_run(world, state)
    save_state(world.ledger, state)
    return state


def _withdraw(world: World, state: RolloutState) -> None:
    """Alias and stage go from the candidate, if it still has them."""
    name, version, stage = state.name, state.version, STAGE_OF[CHALLENGER]
    with lease(world.ledger, f"move {name}", LEASE_S, _WAIT_S) as held:
        held.check()
        if world.registry.version(name, version).stage == stage:
            world.registry.set_stage(name, version, "Archived")
        # The alias last: until it is gone, the next look finds the same abort and finishes it.
        if world.registry.aliases(name).get(CHALLENGER) == version:
            world.registry.delete_alias(name, CHALLENGER)


def _with(present: bytes | None, name: str, traffic: Traffic | None) -> bytes | None:
    now = {} if present is None else parse_traffic(present, TRAFFIC_FILE)
    return present if now.get(name) == traffic else traffic_config(present, name, traffic)
