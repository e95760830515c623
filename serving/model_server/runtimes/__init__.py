"""What executes a version: a Protocol, and the table of those that there are, imported when asked for."""

import importlib
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

if TYPE_CHECKING:
    import numpy as np

    from serving.wire.meta_graph_pb2 import SignatureDef


class Row(NamedTuple):
    """One runtime: `module:class`, called with a version directory to load it, and the variant that it executes."""

    loader: str
    variant: str


RUNTIMES = {
    "tensorflow": Row("serving.model_server.runtimes.tensorflow:TensorFlowRuntime", "tensorflow-fp32"),
}


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


LoadRuntime = Callable[[Path], Runtime]


def open_runtime(name: str) -> LoadRuntime:
    """The loader of the runtime called `name`, a key of RUNTIMES; its libraries are imported by its first call."""

    def load(version_directory: Path) -> Runtime:
        module, _, attribute = RUNTIMES[name].loader.partition(":")
        runtime: Runtime = getattr(importlib.import_module(module), attribute)(version_directory)
        return runtime

    return load
