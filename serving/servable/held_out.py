"""What the network makes of held-out images, while the servable is built: the reference statistics."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from serving.servable.image_properties import properties
from serving.servable.images import MAX_PIXELS
from serving.servable.network_parts import network_parts
from serving.servable.reference import MOST_IMAGES, Reference

if TYPE_CHECKING:
    import keras

_BATCH = 32


@dataclass(frozen=True)
class HeldOut:
    """Held-out images in order of preference, each with its true class; `split_digest` is the test split's."""

    files: Sequence[Path]
    true_class: Sequence[int]
    split_digest: str


def reference_of(network: "keras.Model", held_out: HeldOut, max_pixels: int = MAX_PIXELS) -> Reference | None:
    """The network's answers to the first MOST_IMAGES held-out images; None for a network without embeddings."""
    import tensorflow as tf

    parts = network_parts(network)
    if parts is None:
        return None
    files, size = held_out.files[:MOST_IMAGES], network.input_shape[1:3]

    @tf.function(autograph=False)  # type: ignore[untyped-decorator]
    def answer(pixels: Any) -> Any:
        return parts.head(parts.trunk(pixels))

    read = _decoder(size, max_pixels)
    embeddings, probabilities, seen, shapes = [], [], [], []
    for start in range(0, len(files), _BATCH):
        decoded = [read(file) for file in files[start : start + _BATCH]]
        pixels = np.stack([image for image, _ in decoded])
        answers = answer(tf.constant(pixels))
        embeddings.append(answers[0].numpy().astype(np.float32))
        probabilities.append(answers[1].numpy().astype(np.float32))
        seen += [properties(image) for image in pixels]
        shapes += [shape for _, shape in decoded]
    output = np.concatenate(probabilities)
    return Reference(
        embeddings=np.concatenate(embeddings),
        probabilities=output,
        class_id=output.argmax(axis=1).astype(np.int32),
        true_class=np.array(held_out.true_class[: len(files)], np.int32),
        brightness=np.array([one.brightness for one in seen], np.float32),
        sharpness=np.array([one.sharpness for one in seen], np.float32),
        height=np.array([height for height, _ in shapes], np.int32),
        width=np.array([width for _, width in shapes], np.int32),
        split_digest=held_out.split_digest,
    )


def _decoder(size: tuple[int, int], max_pixels: int) -> Callable[[Path], tuple[Any, Any]]:
    """From a file to its pixels as the network sees them, float32 [H, W, 3], and its own height and width."""
    import tensorflow as tf

    from serving.servable.images import decode, resize

    @tf.function(input_signature=[tf.TensorSpec([], tf.string)])  # type: ignore[untyped-decorator]
    def decoded(data: Any) -> Any:
        image = decode(data, max_pixels)
        return resize(image, size), tf.shape(image)[:2]

    def read(file: Path) -> tuple[Any, Any]:
        pixels, shape = decoded(tf.constant(file.read_bytes()))
        return pixels.numpy(), shape.numpy()

    return read
