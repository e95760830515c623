"""A network cut where explanations and embeddings look into it: at its last feature map, and before its last layer."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import keras

LEAST_CELLS = 4  # a side of the feature map; with fewer, it could not say where in a picture something is


@dataclass(frozen=True)
class NetworkParts:
    """One network in two parts that share its weights: `head(trunk(pixels))` gives what the network does.

    trunk: pixels, float32 [N, H, W, 3] -> features, float32 [N, h, w, channels].
    head: features -> the embedding, float32 [N, d], which is the last layer's input; and the network's own output.
    last: the network's last layer.
    """

    trunk: Callable[[Any], Any]
    head: Callable[[Any], Any]
    last: Any


def network_parts(network: "keras.Model") -> NetworkParts | None:
    """The parts of `network`; None for one that has no feature map, or no vector before its last layer."""
    import keras

    (pixels,), (output,) = network.inputs, network.outputs
    embedding = _only_input(network.layers[-1])
    place = next((place for place in reversed(range(len(network.layers))) if _is_map(_input_at(network, place))), 0)
    features = _input_at(network, place)
    if not _is_map(features) or features is pixels or _rank(embedding) != 2:
        return None
    head = keras.Model(features, [embedding, output])
    finer = _finer(network, place) if min(features.shape[1:3]) < LEAST_CELLS else None
    if finer is None:
        trunk = keras.Model(pixels, features)
        return NetworkParts(_in_turn(trunk), _in_turn(head), network.layers[-1])
    before, first, second = finer
    return NetworkParts(_in_turn(before, first), _in_turn(second, head), network.layers[-1])


def _finer(network: "keras.Model", place: int) -> "tuple[keras.Model, keras.Model, keras.Model] | None":
    """The network up to its backbone, and the backbone in two; None if there is nothing to cut.

    The backbone, a network of its own, stands before the layer at `place`. It is cut at its last feature map of enough
    cells through which everything goes.
    """
    import keras

    backbone = network.layers[place - 1]
    given = network.layers[place - 2].output if place >= 2 else None
    if not isinstance(backbone, keras.Model) or given is None or given.shape != backbone.inputs[0].shape:
        return None
    for layer in reversed(backbone.layers):
        features = layer.output
        if not _is_map(features) or min(features.shape[1:3]) < LEAST_CELLS:
            continue
        try:
            second = keras.Model(features, backbone.outputs[0])
        except ValueError:  # a branch goes around it
            continue
        return keras.Model(network.inputs[0], given), keras.Model(backbone.inputs[0], features), second
    return None


def _in_turn(*models: "keras.Model") -> Callable[[Any], Any]:
    def call(tensor: Any) -> Any:
        for model in models:
            tensor = model(tensor, training=False)
        return tensor

    return call


def _input_at(network: "keras.Model", place: int) -> Any:
    return _only_input(network.layers[place])


def _only_input(layer: Any) -> Any:
    """The tensor that a layer is called with in its network; None if there is none, or several."""
    try:
        tensor = layer.input
    except (AttributeError, ValueError):  # never called, or called several times
        return None
    return None if isinstance(tensor, list | tuple | dict) else tensor


def _is_map(tensor: Any) -> bool:
    return _rank(tensor) == 4 and None not in tensor.shape[1:]


def _rank(tensor: Any) -> int:
    return len(tensor.shape) if hasattr(tensor, "shape") else 0
