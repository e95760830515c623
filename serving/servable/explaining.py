"""Grad-CAM (Selvaraju et al. 2017) as operations of a TensorFlow graph: where a network saw what it says it saw.

The last feature map's channels are weighted by how much each, on average over the picture, raises the predicted class'
score; what they sum to, as far as it is positive, is the heat map.
"""

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import keras

    from serving.servable.network_parts import NetworkParts


def explanation(parts: "NetworkParts", features: Any, size: tuple[int, int]) -> Mapping[str, Any]:
    """From `features`, what the trunk gave, as tensors of the current graph.

    `heat_map` float32 [N, H, W], where (H, W) is `size`, from 0 to 1, with 1 at its maximum, and 0 everywhere where
    nothing speaks for the class; `output` float32 [N, classes]; `class_id` int64 [N], which it explains.
    """
    import tensorflow as tf

    with tf.GradientTape() as tape:
        tape.watch(features)
        embedding, probabilities = parts.head(features)
        class_id = tf.argmax(probabilities, axis=-1, output_type=tf.int64)
        score = tf.gather(_scores(parts.last, embedding, probabilities), class_id, axis=1, batch_dims=1)
    gradients = tape.gradient(score, features)
    weights = tf.reduce_mean(gradients, axis=[1, 2], keepdims=True)
    evidence = tf.nn.relu(tf.reduce_sum(weights * features, axis=-1, keepdims=True))
    maps = tf.image.resize(evidence, size, method="bilinear", antialias=False)[..., 0]
    return {
        "heat_map": tf.math.divide_no_nan(maps, tf.reduce_max(maps, axis=[1, 2], keepdims=True)),
        "output": probabilities,
        "class_id": class_id,
    }


def explain_network(network: "keras.Model") -> Callable[[Any], Mapping[str, Any]] | None:
    """A function from float32 [N, H, W, 3] pixels to `explanation`'s tensors; None if the network has no feature map.

    For a network at hand, of which no SavedModel was made.
    """
    import tensorflow as tf

    from serving.servable.network_parts import network_parts

    parts = network_parts(network)
    if parts is None:
        return None
    size = network.input_shape[1:3]

    def explain(pixels: Any) -> Mapping[str, Any]:
        # Not traced: for a few pictures, that would take longer than explaining them.
        return explanation(parts, parts.trunk(tf.convert_to_tensor(pixels)), size)

    return explain


def _scores(last: Any, embedding: Any, probabilities: Any) -> Any:
    """What the softmax is taken of [N, classes]; its own gradient vanishes where the network is sure."""
    import keras
    import tensorflow as tf

    if isinstance(last, keras.layers.Dense) and last.activation is keras.activations.softmax:
        return tf.linalg.matmul(embedding, tf.convert_to_tensor(last.kernel))  # a bias has no gradient
    return tf.math.log(tf.maximum(probabilities, 1e-30))
