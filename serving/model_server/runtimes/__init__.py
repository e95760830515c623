"""What executes a version: a Protocol, and the table of those that there are, imported when asked for."""

import importlib
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol, runtime_checkable

if TYPE_CHECKING:
    import numpy as np

    from serving.wire.meta_graph_pb2 import SignatureDef


class Row(NamedTuple):
    """One runtime.

    loader: `module:class`, called with a directory that holds a model of its kind.
    platform: what a model config calls such a model.
    model_file: what such a directory holds.
    variants: the variants that it executes are called this, `-` and a precision; so is the extra that installs it.
    """

    loader: str
    platform: str
    model_file: str
    variants: str


_HERE = "serving.model_server.runtimes"
RUNTIMES = {
    "tensorflow": Row(f"{_HERE}.tensorflow:TensorFlowRuntime", "tensorflow", "saved_model.pb", "tensorflow"),
    "openvino": Row(f"{_HERE}.openvino:OpenVINORuntime", "openvino", "model.xml", "openvino"),
    "onnxruntime": Row(f"{_HERE}.onnxruntime:OnnxRuntime", "onnx", "model.onnx", "onnx"),
    "litert": Row(f"{_HERE}.litert:LiteRTRuntime", "tflite", "model.tflite", "litert"),
}


AUTO = "auto"  # in a runtime's place: whichever executes a version's fastest variant


class Runtime(Protocol):
    """One loaded version. `run` is called from many threads at once; `close` once, when none is inside `run`."""

    @property
    def signatures(self) -> Mapping[str, "SignatureDef"]:
        """The signatures by their names, as the SavedModel has them."""

    def run(
        self, signature: str, inputs: Mapping[str, "np.ndarray[Any, Any]"], outputs: Sequence[str]
    ) -> Mapping[str, "np.ndarray[Any, Any]"]:
        """The named outputs for inputs that were checked against the signature.

        Strings are object arrays of `bytes`, in and out. ServingError when the graph refuses the values.
        """

    def close(self) -> None:
        """Give back the memory."""


@runtime_checkable
class Refined(Protocol):
    """A runtime that answers as it should at once, and faster once more work has been done."""

    def refine(self, check: "Check") -> None:
        """Prepare another form of the same model, and answer by it, too, when `check` has not raised for it.

        To be called once, from one thread, while others run the runtime; never beside `close`.
        """


Check = Callable[[Runtime], None]


class Variant(NamedTuple):
    """What answers: a servable's variant, or, for a model of other make, its runtime; both by name.

    passed_over: the faster ones that do not answer here, each with its reason.
    """

    name: str
    passed_over: tuple[str, ...] = ()


class Owed(Protocol):
    """What a version owes is done when this returns; IntegrityError says that it never will be.

    After another error it may be called again. patience_s: for so long it is left to whoever else asks the version the
    same. is_wanted: once that is false, it returns soon, with nothing more done and without an error.
    """

    def __call__(self, patience_s: float, is_wanted: Callable[[], bool], /) -> None: ...


class Loaded(NamedTuple):
    """A runtime that may take traffic.

    later: what is still to be done when it does, in that order; what one raises is a fault of the version, which goes
    on with what was checked.
    owed: what must be done before a request reaches it that does not name it by its number.
    """

    runtime: Runtime
    variant: Variant
    later: tuple[Callable[[], None], ...] = ()
    owed: Owed | None = None


LoadRuntime = Callable[[Path], Runtime]
LoadVersion = Callable[[Path], Loaded]


def open_runtime(name: str, **settings: Any) -> LoadRuntime:
    """The loader of the runtime called `name`, a key of RUNTIMES; its libraries are imported by its first call.

    `settings` are its class' own.
    """

    def load(version_directory: Path) -> Runtime:
        module, _, attribute = RUNTIMES[name].loader.partition(":")
        runtime: Runtime = getattr(importlib.import_module(module), attribute)(version_directory, **settings)
        return runtime

    return load


def runtime_of(variant: str) -> str | None:
    """The runtime that executes a variant of that name; None if there is none."""
    kind = variant.partition("-")[0]
    return next((name for name, row in RUNTIMES.items() if row.variants == kind), None)
