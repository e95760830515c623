"""The regression sets: images that no training sees, on which a candidate must not be worse than the champion."""

from collections.abc import Sequence
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
    from registry.evaluation import Evaluation

# The rule's name, by who named the set: the candidate's run, the champion's, or the present configuration.
OF_CANDIDATE, OF_CHAMPION, CONFIGURED = "regression set", "champion's regression set", "configured regression set"
RULES = (OF_CANDIDATE, OF_CHAMPION, CONFIGURED)


def regression_rules(config: Config, candidate: ModelVersion, champion: ModelVersion | None) -> tuple[RuleResult, ...]:
    """A rule for each regression set that the candidate's run, the champion's or the configuration names.

    A number that cannot be had refuses. Networks that have not been evaluated on a set are evaluated now.
    """
    found = []
    for source, name in named_sets(config, candidate, champion).items():
        try:
            images = _images(config, source, candidate)
            new = on_regression_set(images, candidate)
            old = None if champion is None else on_regression_set(images, champion)
        except (InputError, NotFoundError, IntegrityError) as error:
            found.append(_refused(name, f"cannot compare: {error}"))
        else:
            found.append(rule(new, old, has_champion=champion is not None, name=name))
    return tuple(found)


def named_sets(config: Config, candidate: ModelVersion | None, champion: ModelVersion | None) -> dict[str, str]:
    """The rule's name by its regression set, each set once; without a candidate, the configuration is what it gets."""
    by = {
        OF_CANDIDATE: config.retrain.regression_set if candidate is None else _named_by(candidate),
        OF_CHAMPION: "" if champion is None else _named_by(champion),
        CONFIGURED: config.retrain.regression_set,
    }
    found: dict[str, str] = {}
    for name, source in by.items():
        if source:
            found.setdefault(place_of(source), name)
    return found


def place_of(source: str) -> str:
    """A source as a run has it, wherever the command was called."""
    path = Path(source).expanduser()
    return str(path.absolute()) if path.exists() else source


def check_sets(config: Config, dataset: "Dataset", champion: ModelVersion | None) -> None:
    """InputError where a candidate of these images could not be compared on a set: before a training, not after it."""
    for source, name in named_sets(config, None, champion).items():
        try:
            _whole(config, source, dataset.labels)
        except InputError as error:
            remedy = " Restore it, or promote another version by --force." if name == OF_CHAMPION else ""
            raise InputError(f"{name}: {error}{remedy}") from error


def _refused(name: str, note: str, limit: float = 0.0) -> RuleResult:
    return RuleResult(name, None, "at least", limit, passed=False, note=note)


def rule(
    new: "Evaluation | None", old: "Evaluation | None", *, has_champion: bool, name: str = OF_CANDIDATE
) -> RuleResult:
    """At least the champion's accuracy on the same images, without any margin; a missing number refuses. Pure.

    How many images were lost and won is said beside it: a single one more lost than won refuses.
    """
    if has_champion and old is None:
        return _refused(name, "cannot compare: the champion has no number")
    if new is None or not new.images:
        return _refused(name, "the candidate has no number")
    if old is None:
        return RuleResult(name, new.accuracy, "at least", 0.0, passed=True, note="no champion yet: passes")
    if (new.labels, new.split_digest) != (old.labels, old.split_digest):
        return _refused(name, "cannot compare: labels or images differ", old.accuracy)
    new_right, old_right = new.predicted == new.truth, old.predicted == old.truth
    lost, won = int(np.sum(old_right & ~new_right)), int(np.sum(new_right & ~old_right))
    note = f"{new.images} images, {lost} lost, {won} won; no margin"
    return RuleResult(name, new.accuracy, "at least", old.accuracy, passed=won >= lost, note=note)


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


def _named_by(version: ModelVersion) -> str:
    """The set that a version's training was told to leave out; empty if none, or if it has no run."""
    from pipeline.run_inputs import CONFIG_ARTIFACT, run_config
    from pipeline.tracking import check_tracking, open_run

    if not version.run_id:
        return ""
    check_tracking()
    run = open_run(version.run_id)
    return run_config(run).retrain.regression_set if CONFIG_ARTIFACT in run.artifacts("") else ""


def _images(config: Config, source: str, candidate: ModelVersion) -> "Dataset":
    """All of a set, in the classes that the candidate's run has learned."""
    from pipeline.run_inputs import learned_labels
    from pipeline.tracking import open_run

    return _whole(config, source, learned_labels(open_run(candidate.run_id)))


def must_be_right(config: Config, labels: Sequence[str]) -> "Dataset | None":
    """The images of the configuration's set, in these classes; None where it names none."""
    source = config.retrain.regression_set
    return _whole(config, source, labels) if source else None


def _whole(config: Config, source: str, labels: Sequence[str]) -> "Dataset":
    from pipeline.data.apart import whole_set

    workdir = Path(config.workdir)
    workdir.mkdir(parents=True, exist_ok=True)
    return whole_set(source, labels, workdir, config.data.max_pixels)
