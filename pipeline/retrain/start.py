"""What a retraining learns, and the weights it begins with."""

import dataclasses
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from pipeline.config import Config
from pipeline.progress import report
from registry.client import ModelVersion

if TYPE_CHECKING:
    from pipeline.data import Dataset

_FOLDER = "champions"


def with_weights(config: Config, champion: ModelVersion | None, dataset: "Dataset") -> Config:
    """The configuration with the weights to begin with: the champion's, its head too if the classes are the same."""
    from pipeline.run_inputs import learned_labels
    from pipeline.tracking import open_run

    if config.retrain.start == "scratch" or champion is None:
        return _with(config, "none", keep_head=False) if _is_ours(config) or config.train.keep_head else config
    same = learned_labels(open_run(champion.run_id)) == dataset.labels
    if not same:
        report(f"the classes are not those of champion version {champion.version}: its backbone alone is begun with")
    return _with(config, str(_fetched(config, champion.run_id)), keep_head=same)


def fetch_weights(config: Config) -> None:
    """Bring back the champion's weights that a retraining began with, if they are gone from where it has them."""
    if _is_ours(config) and not Path(config.train.weights).is_file():
        _fetched(config, Path(config.train.weights).stem)


def _with(config: Config, weights: str, *, keep_head: bool) -> Config:
    return dataclasses.replace(config, train=dataclasses.replace(config.train, weights=weights, keep_head=keep_head))


def _is_ours(config: Config) -> bool:
    return Path(config.train.weights).parent.name == _FOLDER


def _fetched(config: Config, run_id: str) -> Path:
    """A run's network below the workdir; fetched once."""
    from pipeline.tracking import open_run
    from pipeline.train import NETWORK_ARTIFACT

    folder = Path(config.workdir).absolute() / _FOLDER
    file = folder / f"{run_id}.keras"
    if not file.is_file():
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=folder, prefix=".network-") as scratch:
            open_run(run_id).download(NETWORK_ARTIFACT, Path(scratch)).replace(file)
    return file
