"""`--enable_batching`: a runtime whose requests are put together along dimension 0, run as one, and taken apart.

As TensorFlow Serving's BatchingSession, but for two things: requests of different shapes never meet in a batch, where
theirs fail together; and when a batch fails, its requests run again one by one: nobody fails for another's picture.
"""

import time
from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from serving.model_server.batch_threads import BatchThreads, Part
from serving.model_server.batching_parameters import MODEL_FILE, BatchingParameters, read_batching_parameters
from serving.model_server.errors import failed_precondition, invalid_argument
from serving.model_server.metrics import RowLabels
from serving.model_server.request import Request, current_request
from serving.model_server.runtimes import Loaded, LoadVersion, Runtime
from serving.wire.meta_graph_pb2 import SignatureDef

Arrays = Mapping[str, np.ndarray[Any, Any]]
OnBatch = Callable[[RowLabels | None, int], None]


def batched_loader(
    load: LoadVersion,
    parameters: BatchingParameters,
    threads: BatchThreads,
    *,
    per_model: bool,
    on_batch: OnBatch = lambda _by, _rows: None,
) -> LoadVersion:
    """A loader that loads as `load` does and puts batching around it.

    per_model: a version's own parameters count, but for the threads', and one without such a file is not batched.
    on_batch: told the version, if requests asked for it, and the rows of each batch that is run. InputError for a
    version's own parameters if they are wrong.
    """

    def load_batched(version_directory: Path) -> Loaded:
        rules = parameters
        if per_model:
            own = version_directory / MODEL_FILE
            if not own.exists():
                return load(version_directory)
            rules = read_batching_parameters(own)
        loaded = load(version_directory)
        return loaded._replace(runtime=BatchingRuntime(loaded.runtime, rules, threads, on_batch))

    return load_batched


@dataclass(frozen=True, eq=False)
class _Request:
    """origin: the prediction that it is for; None in a load, a shadow, or a test."""

    inputs: Arrays
    origin: Request | None


class BatchingRuntime:
    """A runtime around a runtime; whoever calls `run` waits until the batch with its rows has been run."""

    def __init__(
        self,
        inner: Runtime,
        rules: BatchingParameters,
        threads: BatchThreads,
        on_batch: OnBatch = lambda _by, _rows: None,
    ) -> None:
        self._inner = inner
        self._rules = rules
        self._threads = threads
        self._on_batch = on_batch

    @property
    def signatures(self) -> Mapping[str, SignatureDef]:
        """The runtime's own."""
        return self._inner.signatures

    def run(self, signature: str, inputs: Arrays, outputs: Sequence[str]) -> Arrays:
        """As the runtime's, but that every input and output must have one row for each answer, in dimension 0."""
        size = _rows(inputs)
        names = tuple(outputs)
        kind = (id(self), signature, names, self._shapes(inputs))
        origin = current_request()
        if origin is not None:
            origin.batched = True
        parts = self._threads.enqueue(
            kind, _Request(inputs, origin), size, self._rules, lambda batch: self._run_batch(signature, names, batch)
        )
        answers: list[Arrays] = [part.done.result() for part in parts]
        if len(answers) == 1:
            return answers[0]
        return {name: np.concatenate([answer[name] for answer in answers]) for name in names}

    def close(self) -> None:
        """Close the runtime; no request waits any more."""
        self._inner.close()

    def _shapes(self, inputs: Arrays) -> Hashable:
        padded = self._rules.pad_variable_length_inputs
        return tuple((name, array.ndim if padded else array.shape[1:]) for name, array in sorted(inputs.items()))

    def _run_batch(self, signature: str, outputs: Sequence[str], parts: Sequence[Part]) -> None:
        try:
            answers = self._answers(signature, outputs, parts)
        except Exception as error:  # noqa: BLE001  the error is that of the requests, wherever it comes from
            if len(parts) == 1:
                parts[0].done.set_exception(error)
                return
            for part in parts:
                self._run_batch(signature, outputs, [part])
            return
        for part, answer in zip(parts, answers, strict=True):
            part.done.set_result(answer)

    def _answers(self, signature: str, outputs: Sequence[str], parts: Sequence[Part]) -> list[Arrays]:
        rows = sum(part.size for part in parts)
        padding = next((size for size in self._rules.allowed_batch_sizes if size >= rows), rows) - rows
        origins = [part.request.origin for part in parts if part.request.origin is not None]
        self._on_batch(origins[0].row_labels if origins else None, rows + padding)
        merged = {name: self._merged(name, parts, padding) for name in parts[0].request.inputs}
        started_s = time.perf_counter()
        answer = self._inner.run(signature, merged, outputs)
        for origin in origins:
            origin.ran_in_batch(started_s, rows + padding)
        for array in answer.values():
            if array.ndim == 0:
                raise failed_precondition("Batched output tensor has 0 dimensions")
            if len(array) != rows + padding:
                raise failed_precondition(
                    "Batched output tensor's 0th dimension does not equal the sum of the 0th dimension sizes of the "
                    "input tensors"
                )
        ends = np.cumsum([part.size for part in parts])
        return [
            {name: array[end - part.size : end] for name, array in answer.items()}
            for part, end in zip(parts, ends, strict=True)
        ]

    def _merged(self, name: str, parts: Sequence[Part], padding: int) -> np.ndarray[Any, Any]:
        arrays = [part.request.inputs[name][part.rows] for part in parts]
        if self._rules.pad_variable_length_inputs:
            longest = np.max([array.shape[1:] for array in arrays], axis=0)
            arrays = [_padded(array, longest) for array in arrays]
        if padding:
            arrays.append(np.repeat(arrays[-1][:1], padding, axis=0))
        return arrays[0] if len(arrays) == 1 else np.concatenate(arrays)


def _rows(inputs: Arrays) -> int:
    if not inputs:
        raise invalid_argument("Batching Run() must have at least one input tensor")
    if any(array.ndim == 0 for array in inputs.values()):
        raise invalid_argument("Batching Run() input tensors must have at least one dimension")
    sizes = {len(array) for array in inputs.values()}
    if len(sizes) != 1:
        raise invalid_argument("Batching Run() input tensors must have equal 0th-dimension size")
    return sizes.pop()


def _padded(array: np.ndarray[Any, Any], longest: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """Each row made as large as the largest, with the array's first element, as TensorFlow Serving pads."""
    missing = [(0, 0), *((0, int(want) - have) for want, have in zip(longest, array.shape[1:], strict=True))]
    if not any(after for _, after in missing):
        return array
    if not array.size:
        raise invalid_argument("Got empty tensor in batch of non-empty tensors.")
    padded = np.full(
        [have + after for have, (_, after) in zip(array.shape, missing, strict=True)], array.flat[0], array.dtype
    )
    padded[tuple(slice(have) for have in array.shape)] = array
    return padded
