"""ONNX Runtime on the processor."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from serving.model_server.errors import invalid_argument
from serving.model_server.runtimes.plain_model import (
    SIGNATURE,
    Tensor,
    find_model,
    full_rank,
    make_signature,
    not_installed,
)
from serving.wire.tensor_pb2 import DataType
from slipway.errors import InputError

_DTYPES = {
    "float": DataType.DT_FLOAT,
    "double": DataType.DT_DOUBLE,
    "float16": DataType.DT_HALF,
    "int8": DataType.DT_INT8,
    "int16": DataType.DT_INT16,
    "int32": DataType.DT_INT32,
    "int64": DataType.DT_INT64,
    "uint8": DataType.DT_UINT8,
    "uint16": DataType.DT_UINT16,
    "uint32": DataType.DT_UINT32,
    "uint64": DataType.DT_UINT64,
    "bool": DataType.DT_BOOL,
    "string": DataType.DT_STRING,
}
_ERRORS_ALONE = 3


class OnnxRuntime:
    """One session for all threads: it may be run from several at once, and has a thread for each core, or `threads`."""

    def __init__(self, directory: Path, threads: int | None = None) -> None:
        try:
            import onnxruntime
        except ImportError as error:
            raise not_installed("onnxruntime", "onnx", error) from error
        path = find_model(directory, "model.onnx")
        options = onnxruntime.SessionOptions()
        options.log_severity_level = _ERRORS_ALONE
        options.intra_op_num_threads = threads or 0  # 0: as many as there are cores
        # Threads that wait for work sleep: spinning ones take the cores from other requests' decoding.
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        self._session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
        self.signatures = {
            SIGNATURE: make_signature(_tensors(self._session.get_inputs()), _tensors(self._session.get_outputs()))
        }

    def run(
        self,
        signature: str,
        inputs: Mapping[str, npt.NDArray[Any]],
        outputs: Sequence[str],
    ) -> Mapping[str, npt.NDArray[Any]]:
        """See Runtime. Strings are UTF-8; others are refused."""
        infos = self.signatures[signature].inputs
        feeds = {name: _texts(full_rank(array, infos[name]), name) for name, array in inputs.items()}
        from onnxruntime.capi import onnxruntime_pybind11_state as errors

        try:
            answers = self._session.run(list(outputs), feeds)
        except (errors.InvalidArgument, errors.RuntimeException, errors.Fail) as error:
            raise invalid_argument(" ".join(str(error).split())) from error
        return {name: _as_served(answer) for name, answer in zip(outputs, answers, strict=True)}

    def close(self) -> None:
        """See Runtime."""
        del self._session


def _tensors(nodes: Sequence[Any]) -> list[Tensor]:
    return [
        Tensor(node.name, _dtype(node), [size if isinstance(size, int) else -1 for size in node.shape])
        for node in nodes
    ]


def _dtype(node: Any) -> DataType.ValueType:
    kind = node.type.removeprefix("tensor(").removesuffix(")")
    if kind not in _DTYPES:
        raise InputError(
            f"tensor {node.name!r} is of type {node.type}; expected one of {', '.join(_DTYPES)}. Serve the model by "
            "another runtime, or convert it again without that."
        )
    return _DTYPES[kind]


def _texts(array: npt.NDArray[Any], name: str) -> npt.NDArray[Any]:
    if array.dtype != object:
        return array
    texts = np.empty(array.shape, object)
    try:
        texts.reshape(-1)[:] = [value.decode() for value in array.flat]
    except UnicodeDecodeError as error:
        raise invalid_argument(f"Input {name!r} holds a string that is not UTF-8: {error}") from error
    return texts


def _as_served(answer: npt.NDArray[Any]) -> npt.NDArray[Any]:
    array = np.asarray(answer)
    if array.dtype.kind in "iu":
        return array.view(f"{array.dtype.kind}{array.itemsize}")  # C's long long is not int64 to every serializer
    if array.dtype != object:
        return array
    encoded = np.empty(array.shape, object)
    encoded.reshape(-1)[:] = [text.encode() for text in array.flat]
    return encoded
