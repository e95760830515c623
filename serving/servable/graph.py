"""The network as a SavedModel: one copy of the weights, its signatures, preprocessing inside the graph."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from serving.servable.images import MAX_PIXELS

if TYPE_CHECKING:
    import keras

    from serving.servable.network_parts import NetworkParts

Signatures = dict[str, dict[str, Any]]


def write_saved_model(
    network: "keras.Model", labels: Sequence[str], directory: Path, max_pixels: int = MAX_PIXELS
) -> Signatures:
    """Write `network` (float32 [N, H, W, 3] pixels -> float32 [N, classes]) as a SavedModel below `directory`.

    Signatures: `serving_default` takes `input` float32 [N, H, W, 3], RGB, 0 to 255; `serving_bytes` takes `image_bytes`
    string [N], encoded images of any size. Both answer `output` float32 [N, classes], `class_id` int64 [N] and
    `label` string [N]. An encoded image of more than `max_pixels` pixels is refused before it is decoded.

    A network with a feature map has three more. `serving_embed` (of `image_bytes`) and `serving_embed_pixels` (of
    `input`) answer `embedding` float32 [N, d], the input of the network's last layer. `serving_explain` (of
    `image_bytes`) answers as the first two, and `heat_map` float32 [N, H, W] from 0 to 1.

    Returns what a manifest says of them: by name, the dtypes and shapes of their inputs and outputs.
    """
    import tensorflow as tf

    from serving.servable.images import decode_batch
    from serving.servable.network_parts import network_parts

    _, height, width, channels = network.input_shape
    parts = network_parts(network)
    pixels_spec = tf.TensorSpec([None, height, width, channels], tf.float32, name="input")
    bytes_spec = tf.TensorSpec([None], tf.string, name="image_bytes")

    def of_pixels(answer: Callable[[Any], Any]) -> Any:
        # None has Python control flow to convert, and looking for it would take an eighth of the time.
        return tf.function(answer, input_signature=[pixels_spec], autograph=False)

    # Functions of their own, so that decoder and network are traced once and not for each signature.
    @tf.function(input_signature=[bytes_spec], autograph=False)  # type: ignore[untyped-decorator]
    def decoded(image_bytes: Any) -> Any:
        pixels = decode_batch(image_bytes, (height, width), max_pixels)
        return tf.ensure_shape(pixels, [None, height, width, channels])

    def of_bytes(answer: Callable[[Any], Any]) -> Any:
        return tf.function(
            lambda image_bytes: answer(decoded(image_bytes)), input_signature=[bytes_spec], autograph=False
        )

    answers = {
        name: of_pixels(answer)
        for name, answer in _answers(network, parts, tf.constant(list(labels)), of_pixels).items()
    }
    signatures = {"serving_default": of_pixels(answers["predict"]), "serving_bytes": of_bytes(answers["predict"])}
    if parts is not None:
        signatures["serving_embed"] = of_bytes(answers["embed"])
        signatures["serving_embed_pixels"] = of_pixels(answers["embed"])
        signatures["serving_explain"] = of_bytes(answers["explain"])

    # A module of the variables alone: saving the Keras object as well would write every weight twice.
    module = tf.Module()
    module.weights = [variable.value for variable in network.variables]
    tf.saved_model.save(module, str(directory), signatures=signatures)
    return {name: _described(signature) for name, signature in signatures.items()}


def _answers(
    network: "keras.Model", parts: "NetworkParts | None", names: Any, of_pixels: Callable[[Callable[[Any], Any]], Any]
) -> dict[str, Callable[[Any], Mapping[str, Any]]]:
    """What can be asked about pixels, by a word for it."""
    import tensorflow as tf

    from serving.servable.explaining import explanation

    def named(probabilities: Any) -> dict[str, Any]:
        class_id = tf.argmax(probabilities, axis=-1, output_type=tf.int64)
        return {"output": probabilities, "class_id": class_id, "label": tf.gather(names, class_id)}

    if parts is None:
        return {"predict": lambda pixels: named(network(pixels, training=False))}
    cut = parts
    trunk = of_pixels(cut.trunk)
    whole = of_pixels(lambda pixels: cut.head(trunk(pixels)))

    def explain(pixels: Any) -> dict[str, Any]:
        explained = explanation(cut, trunk(pixels), network.input_shape[1:3])
        return {**explained, "label": tf.gather(names, explained["class_id"])}

    return {
        "predict": lambda pixels: named(whole(pixels)[1]),
        "embed": lambda pixels: {"embedding": whole(pixels)[0]},
        "explain": explain,
    }


def _described(signature: Any) -> dict[str, Any]:
    concrete = signature.get_concrete_function()
    (pixels,) = concrete.structured_input_signature[0]
    return {
        "inputs": {pixels.name: _tensor(pixels)},
        "outputs": {name: _tensor(spec) for name, spec in concrete.structured_outputs.items()},
    }


def _tensor(spec: Any) -> dict[str, Any]:
    return {"dtype": spec.dtype.name, "shape": [-1 if size is None else size for size in spec.shape]}
