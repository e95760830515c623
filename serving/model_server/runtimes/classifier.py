"""A variant of a servable: a plain network, and around it what the SavedModel has inside its graph.

That is decoding and resizing encoded images, the most probable class, and its label; under the SavedModel's signatures.
"""

import copy
import json
import os
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from serving.model_server.errors import ServingError, invalid_argument
from serving.model_server.runtimes import Check, LoadRuntime, Refined, Runtime, open_runtime
from serving.model_server.runtimes.tensorflow import read_signatures
from serving.servable.decoding import decode_and_resize
from serving.servable.images import decoding_fault
from serving.servable.layout import LABELS, published_path, variant_path
from serving.servable.manifest import Manifest
from serving.wire.meta_graph_pb2 import SignatureDef
from serving.wire.tensor_pb2 import DataType
from slipway.errors import InputError, IntegrityError

_NETWORK_SIGNATURE = "serving_default"
_INPUT, _OUTPUT = "input", "output"
_OUTPUTS = {_OUTPUT, "class_id", "label"}


def open_variant(runtime: str, variant: str, manifest: Manifest, threads: int | None = None) -> LoadRuntime:
    """What loads that variant of a published version by the runtime of that name; threads: None for one a core."""

    def load(version_directory: Path) -> Runtime:
        network = open_runtime(runtime, threads=threads)(version_directory / published_path(variant_path(variant)))
        try:
            return Classifier(network, version_directory, manifest, threads)
        except BaseException:
            network.close()
            raise

    return load


class Reference:
    """The SavedModel itself, bit by bit; what it says of an image that it refuses is in the words of the decoder."""

    def __init__(self, saved_model: Runtime) -> None:
        self.signatures = saved_model.signatures
        self._saved_model = saved_model

    def run(
        self, signature: str, inputs: Mapping[str, npt.NDArray[Any]], outputs: Sequence[str]
    ) -> Mapping[str, npt.NDArray[Any]]:
        """See Runtime."""
        try:
            return self._saved_model.run(signature, inputs, outputs)
        except ServingError as error:
            raise ServingError(error.code, decoding_fault(error)) from error

    def close(self) -> None:
        """See Runtime."""
        self._saved_model.close()


class Classifier:
    """The signatures of a servable, answered by `network`: `input` [N, H, W, 3] -> `output` [N, classes], float32.

    The images of a request are answered beside each other, each alone: small batches gain nothing on a processor, and
    an engine has as many streams as there are cores.
    """

    def __init__(
        self, network: Runtime, version_directory: Path, manifest: Manifest, threads: int | None = None
    ) -> None:
        self.signatures = _answered(read_signatures(version_directory))
        self._network = network
        self._size = manifest.image_size
        self._max_pixels = manifest.max_pixels
        self._labels = _labels(version_directory / published_path(LABELS), manifest.classes)
        self._beside = ThreadPoolExecutor(threads or os.cpu_count() or 1, thread_name_prefix="images")
        _check_network(network, manifest)

    def run(
        self,
        signature: str,  # noqa: ARG002  the input's name says it
        inputs: Mapping[str, npt.NDArray[Any]],
        outputs: Sequence[str],
    ) -> Mapping[str, npt.NDArray[Any]]:
        """See Runtime. INVALID_ARGUMENT for an image that cannot be decoded."""
        ((name, rows),) = inputs.items()
        answer = self._answer_pixels if name == _INPUT else self._answer_encoded
        if len(rows) == 1:
            output = answer(rows)
        elif len(rows):
            parts = [rows[index : index + 1] for index in range(len(rows))]
            output = np.concatenate(list(self._beside.map(answer, parts)))
        else:
            output = np.zeros((0, len(self._labels)), np.float32)
        class_id = output.argmax(axis=1).astype(np.int64)
        found = {_OUTPUT: output, "class_id": class_id, "label": self._labels[class_id]}
        return {key: found[key] for key in outputs}

    def refine(self, check: Check) -> None:
        """See Refined: the network is, if it can be; `check` asks the whole of it."""
        if isinstance(self._network, Refined):
            self._network.refine(lambda network: check(self._around(network)))

    def close(self) -> None:
        """See Runtime."""
        self._beside.shutdown()
        self._network.close()

    def _around(self, network: Runtime) -> "Classifier":
        """The same around another form of the network."""
        other = copy.copy(self)
        other._network = network  # noqa: SLF001  it is a Classifier of this module
        return other

    def _answer_pixels(self, pixels: npt.NDArray[Any]) -> npt.NDArray[np.float32]:
        return self._network.run(_NETWORK_SIGNATURE, {_INPUT: pixels}, [_OUTPUT])[_OUTPUT]

    def _answer_encoded(self, image_bytes: npt.NDArray[Any]) -> npt.NDArray[np.float32]:
        try:
            pixels = decode_and_resize(image_bytes[0], self._size, self._max_pixels)
        except InputError as error:
            raise invalid_argument(str(error)) from error
        return self._answer_pixels(pixels[np.newaxis])


def _answered(signatures: Mapping[str, SignatureDef]) -> dict[str, SignatureDef]:
    """Those that need no more than probabilities: a plain network has neither embeddings nor gradients."""
    return {name: signature for name, signature in signatures.items() if set(signature.outputs) <= _OUTPUTS}


def _labels(path: Path, classes: int) -> npt.NDArray[Any]:
    """The labels as an object array of bytes [classes]; IntegrityError if there is not one for each class."""
    try:
        labels = json.loads(path.read_bytes())
        encoded = [label.encode() for label in labels]
    except (OSError, ValueError, TypeError, AttributeError) as error:
        raise IntegrityError(
            f"{path}: cannot be read as a list of labels ({error}). Publish the version again."
        ) from error
    if len(encoded) != classes:
        raise IntegrityError(f"{path}: {len(encoded)} labels; expected {classes}. Build the servable again.")
    array = np.empty(classes, object)
    array[:] = encoded
    return array


def _check_network(network: Runtime, manifest: Manifest) -> None:
    """IntegrityError unless the network takes and gives what a servable's does."""
    signature = network.signatures[_NETWORK_SIGNATURE]
    expected = {_INPUT: [*manifest.image_size, 3], _OUTPUT: [manifest.classes]}
    found = {
        name: [dim.size for dim in info.tensor_shape.dim][1:]
        for infos in (signature.inputs, signature.outputs)
        for name, info in infos.items()
        if info.dtype == DataType.DT_FLOAT
    }
    if found != expected or len(signature.inputs) != 1:
        raise IntegrityError(f"a variant's network has tensors {found}; expected {expected}. Build the servable again.")
