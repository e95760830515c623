"""LiteRT, formerly TensorFlow Lite: one .tflite file, for small machines."""

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from serving.model_server.errors import invalid_argument
from serving.model_server.runtimes.plain_model import (
    SIGNATURE,
    Pool,
    Tensor,
    find_model,
    full_rank,
    make_signature,
    not_installed,
)
from serving.wire.meta_graph_pb2 import SignatureDef
from serving.wire.tensors import dtype_of

_MOST_INTERPRETERS = 4  # each has its own copy of the packed weights


class LiteRTRuntime:
    """A pool of interpreters: one may be used by one thread at a time. threads: of all; None for as many as cores."""

    def __init__(self, directory: Path, threads: int | None = None) -> None:
        try:
            from ai_edge_litert.interpreter import Interpreter
        except ImportError as error:
            raise not_installed("litert", "litert", error) from error
        path = str(find_model(directory, "model.tflite"))
        cores = threads or os.cpu_count() or 1
        count = min(cores, _MOST_INTERPRETERS)
        models = [_Model(Interpreter(model_path=path, num_threads=cores // count)) for _ in range(count)]
        self.signatures = models[0].signatures()
        self._models = Pool(models)

    def run(
        self,
        signature: str,
        inputs: Mapping[str, npt.NDArray[Any]],
        outputs: Sequence[str],
    ) -> Mapping[str, npt.NDArray[Any]]:
        """See Runtime."""
        infos = self.signatures[signature].inputs
        whole = {name: full_rank(array, infos[name]) for name, array in inputs.items()}
        with self._models.take() as model:
            try:
                answers = model.run(signature, whole)
            except (RuntimeError, ValueError) as error:
                raise invalid_argument(str(error).partition("\n")[0]) from error
        return {name: answers[name] for name in outputs}

    def close(self) -> None:
        """See Runtime."""
        del self._models


class _Model:
    """One interpreter, by the file's signatures, or, where it has none, by the names of its tensors."""

    def __init__(self, interpreter: Any) -> None:
        self._interpreter = interpreter
        self._runners = {name: interpreter.get_signature_runner(name) for name in interpreter.get_signature_list()}

    def signatures(self) -> dict[str, SignatureDef]:
        if not self._runners:
            inputs, outputs = self._interpreter.get_input_details(), self._interpreter.get_output_details()
            return {SIGNATURE: make_signature(_tensors(_by_name(inputs)), _tensors(_by_name(outputs)))}
        return {
            name: make_signature(_tensors(runner.get_input_details()), _tensors(runner.get_output_details()))
            for name, runner in self._runners.items()
        }

    def run(self, signature: str, inputs: Mapping[str, npt.NDArray[Any]]) -> Mapping[str, npt.NDArray[Any]]:
        """All outputs, in memory of their own."""
        if self._runners:
            answers: Mapping[str, npt.NDArray[Any]] = self._runners[signature](**inputs)
            return answers
        positions = {name: item["index"] for name, item in _by_name(self._interpreter.get_input_details()).items()}
        for name, array in inputs.items():
            self._interpreter.resize_tensor_input(positions[name], array.shape)
        self._interpreter.allocate_tensors()
        for name, array in inputs.items():
            self._interpreter.set_tensor(positions[name], array)
        self._interpreter.invoke()
        outputs = _by_name(self._interpreter.get_output_details())
        return {name: self._interpreter.get_tensor(item["index"]) for name, item in outputs.items()}


def _by_name(details: Sequence[Mapping[str, Any]]) -> dict[str, Mapping[str, Any]]:
    return {item["name"]: item for item in details}


def _tensors(details: Mapping[str, Mapping[str, Any]]) -> list[Tensor]:
    return [
        Tensor(name, dtype_of(np.dtype(item["dtype"])), [int(size) for size in item["shape_signature"]])
        for name, item in details.items()
    ]
