"""What a training's run began with: its configuration, its classes, its images, held against later."""

import json
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from pipeline.config import Config, config_from_json, config_to_json, flat, with_overrides
from pipeline.data.config import DataConfig
from pipeline.environment import BILL_ARTIFACT, bill_of_materials
from pipeline.signing.config import SigningConfig
from pipeline.tracking import StepRun
from slipway.errors import InputError

if TYPE_CHECKING:
    from pipeline.data import Dataset

CONFIG_ARTIFACT = "config.json"
LABELS_ARTIFACT = "labels.json"


def run_config(run: StepRun) -> Config:
    """The configuration that a run was started with."""
    return config_from_json(run.read_text(CONFIG_ARTIFACT), f"run {run.run_id}: {CONFIG_ARTIFACT}")


def resumed_config(run: StepRun, here: Config) -> Config:
    """What the run was started with, but for signing: who signs and who is trusted is said where a command runs.

    A run's configuration is read from where others may write. It may ask for signatures, and not for fewer.
    """
    began = run_config(run)
    required = began.gate.require_signature or here.gate.require_signature
    return replace(began, signing=here.signing, gate=replace(began.gate, require_signature=required))


def log_inputs(config: Config, dataset: "Dataset", run: StepRun) -> None:
    """Record what a training starts from; a run that has it already must be of the same images."""
    from pipeline.data import mlflow_dataset
    from pipeline.provenance import git_commit
    from pipeline.retrain.seen import log_seen

    if CONFIG_ARTIFACT in run.artifacts(""):
        check_same_data(dataset, run)
        return
    # `mlflow run` has logged its own parameters already, `name` and `base` among them: as given, which may be empty.
    unsigned = replace(config, signing=SigningConfig())
    run.params({key if "." in key else f"slipway.{key}": value for key, value in flat(unsigned).items()})
    run.tags({"slipway.git_commit": git_commit(), "slipway.dataset_digest": dataset.digest})
    run.dataset(mlflow_dataset(dataset), "training")
    run.text(BILL_ARTIFACT, bill_of_materials().decode())
    run.text(LABELS_ARTIFACT, json.dumps(dataset.labels, ensure_ascii=False))
    log_seen(config, dataset, run)
    log_config(config, dataset, run)


def log_config(config: Config, dataset: "Dataset", run: StepRun) -> None:
    """Record the configuration, last: a run that has it can be resumed. Later steps may run in another folder."""
    config = replace(config, signing=SigningConfig())  # a command may have in it what is nobody else's
    run.text(CONFIG_ARTIFACT, config_to_json(with_overrides(config, _absolute_paths(config, dataset))))


def _absolute_paths(config: Config, dataset: "Dataset") -> dict[str, str]:
    found = {} if config.data.source == DataConfig.source else {"data.source": dataset.place}
    if Path(config.train.weights).is_file():
        found["train.weights"] = str(Path(config.train.weights).absolute())
    apart = {"data.excluded": config.data.excluded, "retrain.regression_set": config.retrain.regression_set}
    return found | {
        key: str(Path(path).expanduser().absolute()) for key, path in apart.items() if Path(path).exists() and path
    }


def logged_bill(run: StepRun) -> bytes:
    """The bill of materials that the training logged; this environment's for a run from before there were bills."""
    logged = BILL_ARTIFACT in run.artifacts("")
    return run.read_text(BILL_ARTIFACT).encode() if logged else bill_of_materials()


def learned_labels(run: StepRun) -> tuple[str, ...]:
    """The classes that a training learned, in the order of its outputs."""
    return tuple(json.loads(run.read_text(LABELS_ARTIFACT)))


def check_labels(dataset: "Dataset", run: StepRun) -> None:
    """InputError unless the run learned the classes of these images."""
    learned = learned_labels(run)
    if learned != dataset.labels:
        raise InputError(
            f"run {run.run_id} learned the classes {', '.join(learned)}; the images of {dataset.source} are of "
            f"{', '.join(dataset.labels)}; expected the same. Name images of the same classes by --data, or train anew."
        )


def check_same_data(dataset: "Dataset", run: StepRun) -> None:
    """InputError unless the run was trained on these images."""
    began_with = run.tag("slipway.dataset_digest")
    if began_with != dataset.digest:
        raise InputError(
            f"run {run.run_id} was trained on dataset {str(began_with)[:12]}, {dataset.source} is now "
            f"{dataset.digest[:12]}; expected the same images. Restore them, or train anew."
        )
