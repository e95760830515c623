"""A retraining that was killed: what of it can be gone on with, and what is closed."""

from dataclasses import dataclass

from pipeline.config import Config
from pipeline.retrain.regression import place_of
from pipeline.run_inputs import CONFIG_ARTIFACT, resumed_config
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


@dataclass(frozen=True)
class Begun:
    """A retraining that began and has not ended; nobody is at it, since we hold its lease."""

    run: StepRun
    config: Config

    @property
    def why(self) -> str:
        return self.run.tag(WHY) or ""

    @property
    def to(self) -> str:
        return self.run.tag(TO) or "champion"

    @property
    def attempts(self) -> int:
        return int(self.run.tag(ATTEMPTS) or "1")


def begun(config: Config) -> Begun | None:
    """The newest retraining of this model that can be gone on with; whatever else was left open is closed."""
    found = None
    for run in found_runs(config.experiment, {OPEN: config.name}):
        fault = "a newer one is gone on with" if found else _fault(run, config)
        if fault:
            give_up(run, config.experiment, fault)
        else:
            found = Begun(run, resumed_config(run, config))
    return found


def _fault(run: StepRun, here: Config) -> str:
    """Why it cannot be gone on with; empty if it can."""
    from pipeline.lifecycle import data

    if CONFIG_ARTIFACT not in run.artifacts(""):
        return "it was killed before it had begun to train"
    if int(run.tag(ATTEMPTS) or "1") >= _MOST_ATTEMPTS:
        return f"it was begun {_MOST_ATTEMPTS} times and never ended"
    try:
        began = resumed_config(run, here)
        asked = here.retrain.regression_set
        if asked and place_of(asked) != place_of(began.retrain.regression_set):
            return "another regression set is asked for now"
        digest = data(began).digest
    except (InputError, NotFoundError) as error:
        return f"its images cannot be read any more: {error}"
    return "" if digest == run.tag(DATASET) else "its images have changed since it began"


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
