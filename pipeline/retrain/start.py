"""What a retraining learns, and the weights it begins with."""

import dataclasses
import time
from pathlib import Path
from typing import TYPE_CHECKING

from pipeline.aside import check_room, written_aside
from pipeline.config import Config
from pipeline.progress import report
from registry.client import ModelVersion
from slipway.errors import InputError

if TYPE_CHECKING:
    from pipeline.data import Dataset
    from pipeline.tracking import StepRun

_FOLDER = "champions"
_IN_USE_S = 3600.0  # a training reads its weights long before
_NO_ROOM = "Make room, pass another --workdir, or begin with --from scratch."


def with_weights(config: Config, champion: ModelVersion | None, dataset: "Dataset") -> Config:
    """The configuration with the weights to begin with: the champion's, its head too if the classes are the same.

    A champion that has seen an image of the regression set is not begun with: candidates would know the answers.
    """
    from pipeline.run_inputs import learned_labels
    from pipeline.tracking import open_run

    if config.retrain.start == "scratch" or champion is None:
        return _from_scratch(config)
    trained = open_run(champion.run_id)
    if has_seen := _has_seen(trained, config):
        report(f"champion version {champion.version} {has_seen}: begun from scratch")
        return _from_scratch(config)
    same = learned_labels(trained) == dataset.labels
    if not same:
        report(f"the classes are not those of champion version {champion.version}: its backbone alone is begun with")
    return _with(config, str(_fetched(Path(config.workdir).absolute() / _FOLDER, champion.run_id)), keep_head=same)


def _has_seen(trained: "StepRun", config: Config) -> str:
    """What a network has seen of the regression set, in words; empty if nothing."""
    from pipeline.data.apart import excluded_digests
    from pipeline.retrain.seen import seen_by

    named = ("retrain.regression_set", "--regression-set")
    apart = excluded_digests(config.retrain.regression_set, Path(config.workdir), named)
    if not apart:
        return ""
    seen = seen_by(trained)
    if seen is None:
        return "may have seen images of the regression set, nobody has recorded which it has"
    return f"has seen {len(seen & apart)} images of the regression set" if seen & apart else ""


def champions_run(config: Config) -> str:
    """The run of the champion whose weights are begun with; empty if they are nobody's."""
    return Path(config.train.weights).stem if _is_ours(config) else ""


def as_asked(config: Config) -> Config:
    """A configuration without what a retraining put into it: who begins from scratch takes no champion's weights."""
    return _from_scratch(config) if config.retrain.start == "scratch" else config


def fetch_weights(config: Config) -> None:
    """Bring back the champion's weights that a retraining began with, if they are gone from where it has them.

    That may be below another folder than this command's: the run's configuration is what is gone on with.
    """
    weights = Path(config.train.weights)
    if _is_ours(config) and not weights.is_file():
        _fetched(weights.parent, weights.stem)


def _from_scratch(config: Config) -> Config:
    return _with(config, "none", keep_head=False) if _is_ours(config) or config.train.keep_head else config


def _with(config: Config, weights: str, *, keep_head: bool) -> Config:
    return dataclasses.replace(config, train=dataclasses.replace(config.train, weights=weights, keep_head=keep_head))


def _is_ours(config: Config) -> bool:
    weights = Path(config.train.weights)
    return weights.parent.name == _FOLDER and weights.suffix == ".keras"


def _fetched(folder: Path, run_id: str) -> Path:
    """A run's network in a folder, fetched once; others go, but for those that another model's begin with now."""
    from pipeline.tracking import open_run
    from pipeline.train import NETWORK_ARTIFACT

    file = folder / f"{run_id}.keras"
    try:
        if not file.is_file():
            with written_aside(folder, ".network-") as aside:
                run = open_run(run_id)
                check_room(folder, run.size_bytes(NETWORK_ARTIFACT), "the champion's weights", _NO_ROOM)
                run.download(NETWORK_ARTIFACT, aside).replace(file)
        file.touch()
        for other in folder.glob("*.keras"):
            if other != file and time.time() - other.stat().st_mtime > _IN_USE_S:
                other.unlink(missing_ok=True)
    except OSError as error:
        raise InputError(
            f"{folder}: {error.strerror}; expected a folder for the champion's weights that can be written. "
            "Mend it, or pass another --workdir: the next retrain begins anew."
        ) from error
    return file
