"""What workers must have in common, and how they differ."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from pipeline.train import TrainConfig
from slipway.errors import InputError

if TYPE_CHECKING:
    from pipeline.data import Dataset

_OWN = ("train.weights",)  # a file of the chief's: the others get its first weights from it


def description(config: TrainConfig, dataset: "Dataset", versions: Mapping[str, str]) -> dict[str, Any]:
    """All that decides what a worker computes: configuration, images and their split, versions of libraries."""
    from pipeline.config import flat

    settings = {key: value for key, value in flat(config, "train.").items() if key not in _OWN}
    images = {"dataset": dataset.digest[:12], "training split": dataset.split_digest("train")[:12]}
    return {**settings, **images, "validation split": dataset.split_digest("validation")[:12], **versions}


def check_agreement(descriptions: Sequence[Mapping[str, Any]]) -> None:
    """InputError, the same on every worker, that names each difference from worker 0."""
    chief = descriptions[0]
    found = [
        f"worker {number} has {key} {other.get(key)!r}, worker 0 has {chief.get(key)!r}"
        for number, other in enumerate(descriptions)
        for key in [*chief, *(key for key in other if key not in chief)]
        if other.get(key) != chief.get(key)
    ]
    if found:
        raise InputError(
            f"the workers differ: {'; '.join(found)}; expected the same on all. "
            "Give each of them the same options and images, and start them again."
        )
