"""One evaluation of one run's network on one split: what a gate compares, kept among the run's artifacts."""

import io
import json
import math
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from registry.client import Registry
from slipway.errors import IntegrityError, NotFoundError
from slipway.files import sha256_bytes

FORMAT = "slipway.evaluation/1"
OWN_SPLIT_TAG = "slipway.split_digest"  # on the run: the digest of the split that its own evaluation is on
_NUMBERS = ("accuracy", "top3_accuracy", "macro_f1", "log_loss", "calibration_error")


@dataclass(frozen=True)
class ClassResult:
    """One class on the split. `support` is its number of images; a number that is undefined there is NaN."""

    precision: float
    recall: float
    support: int


@dataclass(frozen=True, eq=False)
class Evaluation:
    """Numbers and single predictions. For the same `split_digest` the images, and their order, are the same."""

    run_id: str
    dataset_digest: str
    split: str
    split_digest: str
    images: int
    accuracy: float
    top3_accuracy: float
    macro_f1: float
    log_loss: float
    calibration_error: float
    per_class: Mapping[str, ClassResult]
    labels: tuple[str, ...]
    truth: np.ndarray  # int32 [images], indices into labels
    predicted: np.ndarray  # int32 [images], indices into labels

    def __post_init__(self) -> None:
        """Raise IntegrityError unless the fields belong together."""
        problems = []
        if len(self.split_digest) < 12 or not self.split_digest.isalnum():
            problems.append(f"split_digest is {self.split_digest!r}, expected at least 12 letters or digits")
        if set(self.per_class) != set(self.labels) or len(set(self.labels)) != len(self.labels):
            problems.append("per_class and labels differ")
        for name in ("truth", "predicted"):
            array = getattr(self, name)
            if array.shape != (self.images,) or array.dtype != np.int32:
                problems.append(f"{name} is {array.dtype} {array.shape}, expected int32 ({self.images},)")
            elif array.size and not (array.min() >= 0 and array.max() < len(self.labels)):
                problems.append(f"{name} has indices outside 0 to {len(self.labels) - 1}")
        if problems:
            raise IntegrityError(f"evaluation of run {self.run_id}: {'; '.join(problems)}. Evaluate the run again.")


def artifact_folder(split_digest: str) -> str:
    """Where, among a run's artifacts, its evaluation on that split lies."""
    return f"evaluation/{split_digest[:12]}"


def save_evaluation(registry: Registry, evaluation: Evaluation, *, own: bool = True) -> None:
    """Log `evaluation` to its run. `own` makes it the one that the run is judged by when no split is named."""
    folder = artifact_folder(evaluation.split_digest)
    predictions = io.BytesIO()
    np.savez_compressed(predictions, truth=evaluation.truth, predicted=evaluation.predicted)
    document = {
        "format": FORMAT,
        "run_id": evaluation.run_id,
        "dataset_digest": evaluation.dataset_digest,
        "split": evaluation.split,
        "split_digest": evaluation.split_digest,
        "images": evaluation.images,
        **{name: _to_json(getattr(evaluation, name)) for name in _NUMBERS},
        "labels": list(evaluation.labels),
        "per_class": {
            label: {"precision": _to_json(of.precision), "recall": _to_json(of.recall), "support": of.support}
            for label, of in evaluation.per_class.items()
        },
        "predictions_sha256": sha256_bytes(predictions.getvalue()),
    }
    text = json.dumps(document, indent=2, allow_nan=False, ensure_ascii=False)
    registry.log_artifact_bytes(evaluation.run_id, f"{folder}/predictions.npz", predictions.getvalue())
    registry.log_artifact_bytes(evaluation.run_id, f"{folder}/evaluation.json", text.encode())
    if own:  # last, so that the tag never names an evaluation that is not whole
        registry.set_run_tag(evaluation.run_id, OWN_SPLIT_TAG, evaluation.split_digest)


def load_evaluation(registry: Registry, run_id: str, split_digest: str | None = None) -> Evaluation | None:
    """The run's evaluation on the split with that digest, or its own; None if it has none.

    Raises:
        IntegrityError: it is there, but malformed, or not what was saved.
        NotFoundError: there is no such run.
    """
    wanted = registry.run_tags(run_id).get(OWN_SPLIT_TAG) if split_digest is None else split_digest
    if wanted is None:
        return None
    folder = artifact_folder(wanted)
    try:
        text = registry.read_artifact(run_id, f"{folder}/evaluation.json")
        predictions = registry.read_artifact(run_id, f"{folder}/predictions.npz")
    except NotFoundError:
        return None
    try:
        evaluation = _parse(text, predictions)
    except (
        ValueError,
        KeyError,
        TypeError,
        AttributeError,
        ArithmeticError,
        RecursionError,
        zipfile.BadZipFile,
    ) as exc:
        raise IntegrityError(
            f"run {run_id}: {folder} is not a {FORMAT} document ({type(exc).__name__}: {exc}). Evaluate the run again."
        ) from exc
    if (evaluation.run_id, evaluation.split_digest) != (run_id, wanted):
        raise IntegrityError(
            f"run {run_id}: {folder} holds run {evaluation.run_id} on split {evaluation.split_digest}, "
            f"expected split {wanted}. Evaluate the run again."
        )
    return evaluation


def _parse(text: bytes, predictions: bytes) -> Evaluation:
    document: dict[str, Any] = json.loads(text)
    if document["format"] != FORMAT:
        raise ValueError(f"format is {document['format']!r}")
    if sha256_bytes(predictions) != document["predictions_sha256"]:
        raise ValueError("predictions.npz has another digest than evaluation.json records")
    with np.load(io.BytesIO(predictions), allow_pickle=False) as arrays:
        truth, predicted = arrays["truth"], arrays["predicted"]
    return Evaluation(
        run_id=document["run_id"],
        dataset_digest=document["dataset_digest"],
        split=document["split"],
        split_digest=document["split_digest"],
        images=int(document["images"]),
        **{name: _from_json(document[name]) for name in _NUMBERS},
        per_class={
            label: ClassResult(_from_json(of["precision"]), _from_json(of["recall"]), int(of["support"]))
            for label, of in document["per_class"].items()
        },
        labels=tuple(document["labels"]),
        truth=truth,
        predicted=predicted,
    )


def _to_json(number: float) -> float | None:
    return float(number) if math.isfinite(number) else None


def _from_json(number: float | None) -> float:
    return math.nan if number is None else float(number)
