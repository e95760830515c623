"""A network cut where explanations and embeddings look into it: at its last feature map, and before its last layer."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import keras


@dataclass(frozen=True)
class NetworkParts:
    """One network in two parts that share its weights: `head(trunk(pixels))` gives what the network does.

    trunk: pixels, float32 [N, H, W, 3] -> `features`, float32 [N, h, w, channels].
    head: features -> `embedding`, float32 [N, d], the last layer's input; `output`, the network's own.
    embedding_size: d. last: the network's last layer.
    """

    trunk: "keras.Model"
    head: "keras.Model"
    embedding_size: int
    last: Any


def network_parts(network: "keras.Model") -> NetworkParts | None:
    """The parts of `network`; None for one that has no feature map, or no vector before its last layer."""
    import keras

    (pixels,), (output,) = network.inputs, network.outputs
    embedding = _only_input(network.layers[-1])
    features = next((tensor for tensor in map(_only_input, reversed(network.layers)) if _rank(tensor) == 4), None)
    if features is None or features is pixels or _rank(embedding) != 2 or None in features.shape[1:]:
        return None
    trunk = keras.Model(pixels, features)
    head = keras.Model(features, [embedding, output])
    return NetworkParts(trunk, head, embedding.shape[-1], network.layers[-1])


def _only_input(layer: Any) -> Any:
    """The tensor that a layer is called with in its network; None if there is none, or several."""
    try:
        tensor = layer.input
    except (AttributeError, ValueError):  # never called, or called several times
        return None
    return None if isinstance(tensor, list | tuple | dict) else tensor


def _rank(tensor: Any) -> int:
    return 0 if tensor is None else len(tensor.shape)
