"""A retraining that was killed: what of it can be gone on with, and what is closed."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from pipeline.config import Config, flat
from pipeline.data.config import DataConfig
from pipeline.data.listing import is_in_s3
from pipeline.retrain.start import as_asked
from pipeline.run_inputs import CONFIG_ARTIFACT, resumed_config, run_config
from pipeline.tracking import StepRun, found_runs
from slipway.errors import InputError, NotFoundError

# Tags of a retraining's run. OPEN bears the model's name until it has ended: a killed one keeps it.
OPEN = "slipway.retrain_open"
PHASE = "slipway.retrain_phase"
WHY = "slipway.retrain_why"
TO = "slipway.retrain_to"
DATASET = "slipway.dataset_digest"
ATTEMPTS = "slipway.retrain_attempts"
PHASES = ("decide", "train", "evaluate", "register", "gate", "promote")
_PARENT, _STEP = "mlflow.parentRunId", "slipway.step"
_MOST_ATTEMPTS = 3
_PLACES = ("data.source", "data.excluded", "retrain.regression_set", "train.weights")


@dataclass(frozen=True)
class Begun:
    """A retraining that began and has not ended; nobody is at it, since we hold its lease."""

    run: StepRun
    config: Config

    @property
    def why(self) -> str:
        return self.run.tag(WHY) or ""

    @property
    def attempts(self) -> int:
        return int(self.run.tag(ATTEMPTS) or "1")


def begun(config: Config, to: str) -> Begun | None:
    """The newest retraining of this model that can be gone on with; whatever else was left open is closed.

    config, to: what is asked for now. A candidate that would be another one is no answer to it. InputError where its
    images cannot be read just now: it stays open.
    """
    found = None
    for run in found_runs(config.experiment, {OPEN: config.name}):
        fault = "a newer one is gone on with" if found else _fault(run, config, to)
        if fault:
            give_up(run, config.experiment, fault)
        else:
            found = Begun(run, gone_on_with(run, config))
    return found


def gone_on_with(run: StepRun, here: Config) -> Config:
    """What is asked for now, budget and gate among it, with the images and the training that the run began with."""
    began = resumed_config(run, here)
    gate = replace(here.gate, require_signature=began.gate.require_signature)
    retrain = replace(here.retrain, regression_set=began.retrain.regression_set)
    return replace(here, data=began.data, train=began.train, optimize=began.optimize, gate=gate, retrain=retrain)


def _fault(run: StepRun, here: Config, to: str) -> str:
    """Why it cannot be gone on with; empty if it can. InputError where that cannot be told now."""
    if CONFIG_ARTIFACT not in run.artifacts(""):
        return "it was killed before it had begun to train"
    if int(run.tag(ATTEMPTS) or "1") >= _MOST_ATTEMPTS:
        return f"it was begun {_MOST_ATTEMPTS} times and never ended"
    try:
        began = run_config(run)
    except InputError as error:
        return str(error)
    others = "; ".join(_differences((began, run.tag(TO) or "champion"), (here, to)))
    if others:
        return f"another candidate is asked for now: {others}"
    return "" if _digest(run, here) == run.tag(DATASET) else "its images have changed since it began"


def _differences(began: tuple[Config, str], now: tuple[Config, str]) -> Iterator[str]:
    """What of a candidate is asked for otherwise, each with both values."""
    one, other = _of_candidate(*began), _of_candidate(*now)
    for key, value in one.items():
        if key in other and value != other[key]:
            yield f"{key} was {value}, is now {other[key]}"


def _of_candidate(config: Config, to: str) -> dict[str, Any]:
    """What decides which candidate is made, by dotted key; places as a run has them, wherever the command was called.

    Where the champion's weights are begun with, those of the configuration are not looked at.
    """
    config = as_asked(config)
    found: dict[str, Any] = {"to": to, "retrain.start": config.retrain.start}
    found["retrain.regression_set"] = config.retrain.regression_set
    for section in ("data", "train", "optimize"):
        found |= flat(getattr(config, section), f"{section}.")
    if config.retrain.start == "champion":
        del found["train.weights"], found["train.keep_head"]
    return {key: place_as_text(value) if key in _PLACES else value for key, value in found.items()}


def place_as_text(source: str) -> str:
    """A source's place as a run has it, by its text alone: what is there may be away for a moment."""
    if is_in_s3(source):
        return source.rstrip("/")
    if source in ("", "none", "imagenet", DataConfig.source):
        return source
    return str(Path(source).expanduser().absolute())


def _digest(run: StepRun, here: Config) -> str:
    from pipeline.lifecycle import data

    try:
        return data(gone_on_with(run, here)).digest
    except (InputError, NotFoundError) as error:
        raise InputError(
            f"{error} Run {run.run_id}, a retraining that was stopped, is kept: the next call goes on with it once its "
            "images are there again, and closes it where other ones are named."
        ) from error


def give_up(run: StepRun, experiment: str, why: str) -> None:
    """Close a retraining, and what was left running below it."""
    from pipeline.progress import report

    for child in children(run, experiment):
        if child.is_running:
            child.end("KILLED")
    run.tags({"slipway.error": why, OPEN: ""})
    run.end("KILLED")
    report(f"run {run.run_id}, a retraining that was killed, is closed: {why}")


def children(run: StepRun, experiment: str, step: str = "") -> list[StepRun]:
    """The runs of a retraining's steps, or of one step, the newest first."""
    return found_runs(experiment, {_PARENT: run.run_id} | ({_STEP: step} if step else {}))
