"""`--prediction_log`: what leaves a version is handed to the log, and the log is given what it asks of the server."""

import random
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy.typing as npt

from serving.model_server.callers import client_of
from serving.model_server.errors import ServingError
from serving.model_server.flags import Flags
from serving.model_server.labels import label_of
from serving.model_server.models import Models
from serving.model_server.predict import run_signature
from serving.model_server.request import Request
from serving.model_server.version import Lease
from serving.prediction_log.columns import Answer
from serving.prediction_log.pictures import ARRAY, EMBED_SIGNATURES, ENCODED
from serving.prediction_log.retention import now_us
from serving.prediction_log.rules import DAY_S, LogRules
from serving.prediction_log.writing import PredictionLog

_EMBEDDING = "embedding"


def open_log(flags: Flags, models: Callable[[], Models], in_flight: Callable[[], int]) -> PredictionLog | None:
    """The log that the flags ask for, not started; None if they ask for none. InputError as PredictionLog's."""
    if not flags.prediction_log:
        return None
    rules = LogRules(
        embed_sample=flags.prediction_log_embed_sample,
        most_bytes=flags.prediction_log_max_mb * 2**20,
        keep_s=flags.prediction_log_days * DAY_S,
        kept_inputs=flags.prediction_log_inputs,
        key_file=Path(flags.prediction_log_key_file) if flags.prediction_log_key_file else None,
    )

    def embed(model: str, version: int, inputs: Mapping[str, npt.NDArray[Any]]) -> npt.NDArray[Any] | None:
        return embeddings(models(), model, version, inputs)

    return PredictionLog(Path(flags.prediction_log), rules, in_flight, embed)


class Logged:
    """Hands over a share of the answers, 0 to 1: by reference, within microseconds, and without an error."""

    def __init__(self, log: PredictionLog, sample: float, models: Callable[[], Models]) -> None:
        self._log = log
        self._sample = sample
        self._models = models

    def left(self, lease: Lease, request: Request, classes: tuple[int, ...]) -> None:
        """The version of the lease answered a request, with those most probable classes."""
        if self._sample < 1 and random.random() >= self._sample:
            return
        try:
            self._log.offer(self._answer(lease, request, classes))
        except Exception:  # noqa: BLE001  the answer goes out all the same
            self._log.lost()

    def _answer(self, lease: Lease, request: Request, classes: tuple[int, ...]) -> Answer:
        run, served, models = request.runs[-1], lease.served, self._models()
        return Answer(
            now_us(),
            request.id,
            served.model,
            served.version,
            _label(models, served.model, served.version),
            served.digest,
            run.signature,
            served.variant,
            request.took_s * 1000,
            classes,
            _probabilities(run.found.get("output"), len(classes)),
            client_of(models.traffic(served.model), request.caller) if request.caller else "",
            run.inputs if run.inputs.keys() & {ENCODED, ARRAY} else None,
            lease.runtime.signatures,
        )


def embeddings(
    models: Models, model: str, version: int, inputs: Mapping[str, npt.NDArray[Any]]
) -> npt.NDArray[Any] | None:
    """float32 [N, d] of those images by that version; None if it is gone, or has no signature for them."""
    (name,) = inputs
    signature = EMBED_SIGNATURES[name]
    try:
        lease = models.named(model).acquire(version)
        if lease is None:
            return None
        with lease:
            if signature not in lease.runtime.signatures:
                return None
            return run_signature(lease.runtime, signature, inputs, [_EMBEDDING])[_EMBEDDING]
    except ServingError:
        return None


def _probabilities(output: "npt.NDArray[Any] | None", images: int) -> "npt.NDArray[Any] | None":
    """`output` if it is float [images, classes]."""
    fits = output is not None and output.ndim == 2 and len(output) == images and output.dtype.kind == "f"
    return output if fits and output is not None and output.size else None


def _label(models: Models, model: str, version: int) -> str:
    try:
        return label_of(models.named(model).labels, version)
    except ServingError:  # no longer listed
        return ""
