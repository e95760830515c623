"""What a rollout decided, where people look for it: the ledger, and an MLflow run with each look's numbers."""

from collections.abc import Mapping
from dataclasses import asdict, replace
from typing import Any, Final

from pipeline.reconcile.world import World
from pipeline.rollout.report import RolloutReport
from pipeline.rollout.state import RolloutState, keep_state
from pipeline.tracking import StepRun, kept_run
from registry.lease import actor
from registry.ledger import CHALLENGER, NewEntry

RUN_TAG = "slipway.rollout"
ACTION: Final = "rollout"
_NUMBERS = ("canary", "stable", "worse", "harmless", "low", "high", "limit")  # of a measure's line


def noted(state: RolloutState, report: RolloutReport) -> RolloutState:
    """`state`, with `report` to be recorded; a hold of the same step, for the same measures, only once."""
    holding = [line.measure for line in report.lines if line.standing == "hold"]
    kind = " ".join([report.verdict, "at", report.step, *holding])
    unrecorded = {"report": report.as_dict(), "in_ledger": kind != state.noted}
    return replace(state, unrecorded=unrecorded, noted=kind)


def recorded(world: World, state: RolloutState) -> RolloutState:
    """Record what is to be recorded, once: a call that was killed is made good by the next one."""
    if state.unrecorded is None:
        return state
    world.check()
    report = state.unrecorded["report"]
    if state.unrecorded["in_ledger"] and not _in_ledger(world, state, report["look"]):
        gone = report["verdict"] == "abort"
        world.ledger.append(
            NewEntry(
                model=state.name,
                action=ACTION,
                alias=CHALLENGER,
                from_version=state.version,
                to_version=None if gone else state.version,
                actor=actor(),
                origin=ACTION,
                reason=f"{report['verdict']} at {report['step']}: {report['reason']}",
                gate_report={**report, "rollout": state.id},
            )
        )
    _run(world, state).metrics(_metrics(report), step=report["look"])
    state = replace(state, unrecorded=None)
    keep_state(world, state)
    return state


def end_run(world: World, state: RolloutState) -> None:
    """End the rollout's run. A rollout that aborted did its work: it is FINISHED, and its tag says how it ended."""
    run = _run(world, state)
    run.tags({"slipway.rollout_ended": state.phase, "slipway.rollout_reason": state.reason[:4000]})
    run.end("FINISHED")


def _run(world: World, state: RolloutState) -> StepRun:
    run = kept_run(f"rollout {state.name} {state.version}", world.config.experiment, (RUN_TAG, state.id))
    if run.tag("slipway.step") is None:
        run.params({f"rollout.{key}": value for key, value in asdict(state.policy).items()})
        run.tags(
            {
                "slipway.rollout_version": f"{state.name} {state.version}",
                "slipway.rollout_against": f"{state.name} {state.against}",
                "slipway.step": ACTION,
            }
        )
    return run


def _in_ledger(world: World, state: RolloutState, look: int) -> bool:
    mine = (entry.gate_report or {} for entry in world.ledger.entries(state.name) if entry.action == ACTION)
    return any(report.get("rollout") == state.id and report.get("look") == look for report in mine)


def _metrics(report: Mapping[str, Any]) -> dict[str, float]:
    found = {"share": report["share"], "requests_in_step": float(report["answered"]), "elapsed_s": report["elapsed_s"]}
    for line in report["lines"]:
        for number in _NUMBERS:
            if line[number] is not None:
                found[f"{line['measure']}.{number}"] = line[number]
    return found
