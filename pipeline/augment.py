"""Shifted training images: more pictures than there are, the same for the same seed."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import tensorflow as tf


def shifted(batches: "tf.data.Dataset", pixels: int, seed: int) -> "tf.data.Dataset":
    """Move each image of (float32 [B, H, W, 3], classes) by up to `pixels` up or down and left or right.

    What moves in at an edge is that edge's mirror image. The shifts depend on the seed and the batch's place alone.
    """
    import tensorflow as tf

    border = [[0, 0], [pixels, pixels], [pixels, pixels], [0, 0]]

    def move(place: Any, batch: Any) -> Any:
        images, classes = batch
        corners = tf.random.stateless_uniform(
            [tf.shape(images)[0], 2], [seed, tf.cast(place, tf.int32)], 0, 2 * pixels + 1, tf.int32
        )
        rows = corners[:, :1] + tf.range(images.shape[1])
        columns = corners[:, 1:] + tf.range(images.shape[2])
        padded = tf.pad(images, border, "SYMMETRIC")
        moved = tf.gather(tf.gather(padded, rows, axis=1, batch_dims=1), columns, axis=2, batch_dims=1)
        return tf.ensure_shape(moved, images.shape), classes

    return batches.enumerate().map(move)
