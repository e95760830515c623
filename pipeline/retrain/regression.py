"""The regression set: images that no training sees, on which a candidate must not be worse than the champion."""

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from pipeline.config import Config
from pipeline.progress import report
from registry.client import ModelVersion, Registry
from registry.gate import RuleResult
from slipway.errors import InputError, IntegrityError, NotFoundError

if TYPE_CHECKING:
    from pipeline.data import Dataset
    from pipeline.tracking import StepRun
    from registry.evaluation import Evaluation

RULE = "regression set"


def regression_rules(config: Config, candidate: ModelVersion, champion: ModelVersion | None) -> tuple[RuleResult, ...]:
    """The rule about the regression set, where the candidate's run, or the configuration, names one; else none.

    A number that cannot be had refuses. Networks that have not been evaluated on the set are evaluated now.
    """
    from pipeline.tracking import check_tracking, open_run

    source = config.retrain.regression_set
    if candidate.run_id:
        check_tracking()
        source = _named_by(open_run(candidate.run_id)) or source
    if not source:
        return ()
    try:
        images = _images(config, source, candidate)
        new = on_regression_set(images, candidate)
        old = None if champion is None else on_regression_set(images, champion)
    except (InputError, NotFoundError, IntegrityError) as error:
        return (RuleResult(RULE, None, "at least", 0.0, passed=False, note=f"cannot compare: {error}"),)
    return (rule(new, old, has_champion=champion is not None),)


def rule(new: "Evaluation | None", old: "Evaluation | None", *, has_champion: bool) -> RuleResult:
    """At least the champion's accuracy on the same images, without any margin; a missing number refuses. Pure.

    How many images were lost and won is said beside it: a single one more lost than won refuses.
    """
    if has_champion and old is None:
        return RuleResult(RULE, None, "at least", 0.0, passed=False, note="cannot compare: the champion has no number")
    if new is None or not new.images:
        return RuleResult(RULE, None, "at least", 0.0, passed=False, note="the candidate has no number")
    if old is None:
        return RuleResult(RULE, new.accuracy, "at least", 0.0, passed=True, note="no champion yet: passes")
    if (new.labels, new.split_digest) != (old.labels, old.split_digest):
        return RuleResult(
            RULE, None, "at least", old.accuracy, passed=False, note="cannot compare: labels or images differ"
        )
    new_right, old_right = new.predicted == new.truth, old.predicted == old.truth
    lost, won = int(np.sum(old_right & ~new_right)), int(np.sum(new_right & ~old_right))
    note = f"{new.images} images, {lost} lost, {won} won; no margin"
    return RuleResult(RULE, new.accuracy, "at least", old.accuracy, passed=won >= lost, note=note)


def on_regression_set(images: "Dataset", version: ModelVersion) -> "Evaluation":
    """A version's network on the images; what was measured once is kept with its run."""
    from pipeline import evaluate
    from pipeline.run_inputs import check_labels
    from pipeline.tracking import open_run
    from pipeline.train import load_network
    from registry.evaluation import load_evaluation, save_evaluation

    registry = Registry()
    if not version.run_id:
        raise NotFoundError(f"{version.name} version {version.version} has no run; expected one with its network.")
    present = load_evaluation(registry, version.run_id, images.split_digest("test"))
    if present is not None:
        return present
    run = open_run(version.run_id)
    check_labels(images, run)
    found, _ = evaluate.evaluate(load_network(run), images, version.run_id)
    save_evaluation(registry, found, own=False)
    report(
        f"{version.name} version {version.version}: accuracy {found.accuracy:.4f} on {found.images} regression images"
    )
    return found


def _named_by(run: "StepRun") -> str:
    from pipeline.run_inputs import CONFIG_ARTIFACT, run_config

    return run_config(run).retrain.regression_set if CONFIG_ARTIFACT in run.artifacts("") else ""


def _images(config: Config, source: str, candidate: ModelVersion) -> "Dataset":
    """All of the set, in the classes that the candidate's run has learned."""
    from pipeline.data.apart import whole_set
    from pipeline.run_inputs import learned_labels
    from pipeline.tracking import open_run

    workdir = Path(config.workdir)
    workdir.mkdir(parents=True, exist_ok=True)
    return whole_set(source, learned_labels(open_run(candidate.run_id)), workdir, config.data.max_pixels)
