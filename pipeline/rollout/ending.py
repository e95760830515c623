"""How a rollout ends. Every part can be done again: whoever is killed in between is followed by the next look."""

from dataclasses import replace

from pipeline.promotion import Why, to_champion
from pipeline.reconcile.settle import settle
from pipeline.reconcile.world import World
from pipeline.rollout.record import ACTION, end_run, recorded
from pipeline.rollout.state import RolloutState, keep_state
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


def present_traffic(world: World, name: str) -> Traffic | None:
    """How the servers are told to split the model's traffic now."""
    content = world.store.update_file(TRAFFIC_FILE, lambda present: present)
    return None if content is None else parse_traffic(content, TRAFFIC_FILE).get(name)


def give_traffic(world: World, state: RolloutState) -> None:
    """The candidate's share of this step, by the policy and what somebody had set before."""
    world.check()
    step, standing = state.policy.plan[state.progress.step], state.standing or Traffic()
    header = state.policy.key_header or standing.key_header
    shadow = step.shadow or standing.shadow
    send_traffic(world, state.name, Traffic(100 - step.share, step.share, shadow, header, standing.key_address))


def take_traffic(world: World, state: RolloutState) -> None:
    """The candidate gets no request and no copy any more, whoever conducts; by what clients are held stays."""
    kept = state.standing
    send_traffic(world, state.name, None if kept is None else replace(kept, stable=100.0, canary=0.0, shadow=0.0))


def is_promoted(world: World, state: RolloutState) -> bool:
    """Whether the ledger says so, or the alias of a promotion that was killed before its entry."""
    last = world.ledger.last(state.name, CHAMPION)
    if last is not None and last.to_version == state.version:
        return True
    return world.registry.aliases(state.name).get(CHAMPION) == state.version


def finish_abort(world: World, state: RolloutState) -> RolloutState:
    """The candidate's traffic ends first; then it is tagged, is the challenger no more, and the ledger says why."""
    take_traffic(world, state)
    keep_state(world, state)
    note(world.registry, state.name, state.version, "refused", state.reason, world.clock())
    _withdraw(world, state)
    return _over(world, replace(recorded(world, state), phase="aborted"))


def finish_promotion(world: World, state: RolloutState, gate: GateReport | None) -> RolloutState:
    """The candidate becomes champion, by the gate's leave, and goes live; only then does the split end.

    gate: None where alias and ledger say so already. Ends as aborted, with the reason, where a server refuses it.

    Raises:
        UnavailableError: nobody can tell now.
        InputError, IntegrityError: it may not be promoted, or its bytes are not the registered ones.
    """
    world.check()
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
    take_traffic(world, state)
    if refused:
        return _over(world, replace(state, phase="aborted", reason=refused))
    return _over(world, replace(state, phase="promoted"))


def finish_leaving(world: World, state: RolloutState) -> RolloutState:
    """End a rollout whose subject somebody else has moved: its traffic ends, and the version is not judged."""
    take_traffic(world, state)
    keep_state(world, state)
    return _over(world, replace(recorded(world, state), phase="left"))


def _over(world: World, state: RolloutState) -> RolloutState:
    if state.standing is not None:
        world.check()
        send_traffic(world, state.name, replace(state.standing, stable=100.0, canary=0.0))
    end_run(world, state)
    keep_state(world, state)
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
