"""Shifted training images: more pictures than there are, the same for the same seed."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import tensorflow as tf


def shifted(
    batches: "tf.data.Dataset", pixels: int, seed: int, parts: "Sequence[tuple[int, int]] | None" = None
) -> "tf.data.Dataset":
    """Move each image of (float32 [B, H, W, 3], classes) by up to `pixels` up or down and left or right.

    What moves in at an edge is that edge's mirror image. The shifts depend on the seed and the batch's place alone.
    parts: for batches that are parts of larger ones, the place of the first image in that, and how many that has; each
    image is moved as it would be there.
    """
    import tensorflow as tf

    border = [[0, 0], [pixels, pixels], [pixels, pixels], [0, 0]]

    def move(place: Any, batch: Any, part: Any = None) -> Any:
        images, classes = batch
        here = tf.shape(images)[0]
        first, whole = (0, here) if part is None else (part[0], part[1])
        corners = tf.random.stateless_uniform(
            [whole, 2], [seed, tf.cast(place, tf.int32)], 0, 2 * pixels + 1, tf.int32
        )[first : first + here]
        rows = corners[:, :1] + tf.range(images.shape[1])
        columns = corners[:, 1:] + tf.range(images.shape[2])
        padded = tf.pad(images, border, "SYMMETRIC")
        moved = tf.gather(tf.gather(padded, rows, axis=1, batch_dims=1), columns, axis=2, batch_dims=1)
        return tf.ensure_shape(moved, images.shape), classes

    if parts is None:
        return batches.enumerate().map(move)
    of_batches = tf.data.Dataset.from_tensor_slices(tf.constant(list(parts), tf.int32))
    return tf.data.Dataset.zip(batches, of_batches).enumerate().map(lambda place, both: move(place, *both))
