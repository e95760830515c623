"""OpenVINO on the processor: its own models, ONNX, and SavedModels whose operations it has."""

import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from serving.model_server.errors import invalid_argument
from serving.model_server.pace import at_low_priority, current_pace
from serving.model_server.runtimes import Runtime
from serving.model_server.runtimes.plain_model import (
    SIGNATURE,
    Pool,
    Tensor,
    find_model,
    full_rank,
    make_signature,
    not_installed,
)
from serving.servable.variants.openvino import PRECISION_AT
from serving.wire.tensor_pb2 import DataType
from slipway.errors import InputError, UnavailableError
from slipway.openvino_start import start_openvino

_DTYPES = {
    "f32": DataType.DT_FLOAT,
    "f64": DataType.DT_DOUBLE,
    "f16": DataType.DT_HALF,
    "i8": DataType.DT_INT8,
    "i16": DataType.DT_INT16,
    "i32": DataType.DT_INT32,
    "i64": DataType.DT_INT64,
    "u8": DataType.DT_UINT8,
    "u16": DataType.DT_UINT16,
    "u32": DataType.DT_UINT32,
    "u64": DataType.DT_UINT64,
    "boolean": DataType.DT_BOOL,
}
_IN_FLIGHT = 2  # requests for each stream: the next one is ready when a stream has finished


class OpenVINORuntime:
    """A model compiled for many requests beside each other, and, once refined, for one that is alone as well.

    The first has a stream for each core, and the most throughput; the second has all cores for one request, and the
    least latency. A request that finds no other running takes the second, if there is one.

    threads: so many instead of one a core, each with a stream of its own.
    """

    def __init__(self, directory: Path, threads: int | None = None) -> None:
        try:
            openvino = start_openvino()
        except ImportError as error:
            raise not_installed("openvino", "openvino", error) from error
        core = _core(openvino)
        model = core.read_model(_find(directory))
        self._core, self._model = core, model
        self._settings = {"ENABLE_CPU_PINNING": False, "INFERENCE_PRECISION_HINT": _precision(core, model)}
        self._tensors = _tensors(model.inputs), _tensors(model.outputs)
        self.signatures = {SIGNATURE: make_signature(*self._tensors)}
        settings = {**self._settings, "PERFORMANCE_HINT": "THROUGHPUT"}
        if threads is not None:
            settings |= {"INFERENCE_NUM_THREADS": threads, "NUM_STREAMS": threads}
        beside = _compile(core, model, settings, gently=current_pace().is_busy())
        count = _IN_FLIGHT * beside.get_property("OPTIMAL_NUMBER_OF_INFER_REQUESTS")
        self._beside = _Compiled(beside, count, *self._tensors)
        self._alone: _Compiled | None = None
        self._running = 0
        self._counting = threading.Lock()

    def run(
        self,
        signature: str,  # noqa: ARG002  there is one
        inputs: Mapping[str, npt.NDArray[Any]],
        outputs: Sequence[str],
    ) -> Mapping[str, npt.NDArray[Any]]:
        """See Runtime."""
        with self._chosen() as compiled:
            return compiled.run(SIGNATURE, inputs, outputs)

    def refine(self, check: Callable[[Runtime], None]) -> None:
        """See Refined: compiles the model for a request that is alone, at low priority."""
        model, self._model = self._model, None
        settings = {**self._settings, "PERFORMANCE_HINT": "LATENCY", "NUM_STREAMS": 1}
        alone = _Compiled(_compile(self._core, model, settings, gently=True), 1, *self._tensors)
        check(alone)
        self._alone = alone

    def close(self) -> None:
        """See Runtime."""
        del self._beside, self._alone, self._model

    @contextmanager
    def _chosen(self) -> Iterator["_Compiled"]:
        with self._counting:
            compiled = self._beside if self._running or self._alone is None else self._alone
            self._running += 1
        try:
            yield compiled
        finally:
            with self._counting:
                self._running -= 1


class _Compiled:
    """A model compiled one way, as a runtime of its own: so many inference requests, each for one thread at a time."""

    def __init__(self, compiled: Any, count: int, inputs: Sequence[Tensor], outputs: Sequence[Tensor]) -> None:
        self._inputs, self._outputs = [name for name, *_ in inputs], [name for name, *_ in outputs]
        self._requests = Pool(compiled.create_infer_request() for _ in range(count))
        self.signatures = {SIGNATURE: make_signature(inputs, outputs)}

    def run(
        self, signature: str, inputs: Mapping[str, npt.NDArray[Any]], outputs: Sequence[str]
    ) -> Mapping[str, npt.NDArray[Any]]:
        from openvino import Tensor as SharedTensor

        infos = self.signatures[signature].inputs
        tensors = [SharedTensor(full_rank(inputs[name], infos[name]), shared_memory=True) for name in self._inputs]
        with self._requests.take() as request:
            try:
                for index, tensor in enumerate(tensors):
                    request.set_input_tensor(index, tensor)
                request.start_async()
                request.wait()
            except RuntimeError as error:
                raise invalid_argument(_reason(error)) from error
            return {
                name: np.array(request.get_output_tensor(index).data)  # a copy: the next request writes there
                for index, name in enumerate(self._outputs)
                if name in outputs
            }

    def close(self) -> None:
        del self._requests


@cache
def _core(openvino: Any) -> Any:
    return openvino.Core()


def _compile(core: Any, model: Any, settings: Mapping[str, Any], *, gently: bool) -> Any:
    """The model compiled for the processor.

    Gently, beside requests: the work is done at low priority, and what came of it imported at the server's own, which
    takes a quarter as long: an engine's threads keep the priority of the thread that made them.
    """
    if not gently:
        return core.compile_model(model, "CPU", settings)
    pace = current_pace()
    blob = pace.run(at_low_priority(core.compile_model, model, "CPU", settings).export_model)
    return pace.run(core.import_model, blob.getvalue(), "CPU", settings)


def _find(directory: Path) -> Path:
    if (directory / "saved_model.pb").is_file() and not (directory / "model.xml").is_file():
        return directory
    return find_model(directory, "model.xml" if any(directory.glob("*.xml")) else "model.onnx")


def _precision(core: Any, model: Any) -> str:
    """What the model says that it is to be run in, or float32. UnavailableError if this processor lacks it."""
    precision = str(model.get_rt_info(PRECISION_AT).astype(str)) if model.has_rt_info(PRECISION_AT) else "f32"
    if precision == "bf16" and "BF16" not in core.get_property("CPU", "OPTIMIZATION_CAPABILITIES"):
        raise UnavailableError("this processor has no instructions for bfloat16; expected them. Serve another variant.")
    return precision


def _tensors(ports: Sequence[Any]) -> list[Tensor]:
    return [Tensor(_name(port), _dtype(port), _shape(port.partial_shape)) for port in ports]


def _name(port: Any) -> str:
    """The shortest of its names: `input` and not `input:0`."""
    return str(min(port.get_names(), key=lambda name: (len(name), name), default=port.node.friendly_name))


def _dtype(port: Any) -> DataType.ValueType:
    kind = port.element_type.get_type_name()
    if kind not in _DTYPES:
        raise InputError(
            f"tensor {_name(port)!r} is of type {kind}; expected one of {', '.join(_DTYPES)}. Serve the model "
            "by another runtime."
        )
    return _DTYPES[kind]


def _shape(partial: Any) -> list[int] | None:
    if partial.rank.is_dynamic:
        return None
    return [-1 if size.is_dynamic else size.get_length() for size in partial]


def _reason(error: RuntimeError) -> str:
    """OpenVINO's own words: below the places in its source that they came through."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    told = [line for line in lines if not line.startswith("Exception from ")]
    return (told or lines or ["OpenVINO refused the request"])[0]
