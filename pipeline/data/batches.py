"""Images from files to the network, a batch at a time."""

import os
from collections.abc import Sequence
from functools import cache
from typing import TYPE_CHECKING, Any

from serving.servable.images import MAX_PIXELS

if TYPE_CHECKING:
    import tensorflow as tf

    from pipeline.data.dataset import Record

_BATCHES_AHEAD = 2  # a fixed number: automatic tuning trades memory that we promise not to take


def shuffled(records: "Sequence[Record]", seed: int) -> "list[Record]":
    """The records in an order that depends on the seed alone."""
    import numpy as np

    return [records[int(i)] for i in np.random.default_rng(seed).permutation(len(records))]


def batches(
    records: "Sequence[Record]",
    classes: int,
    image_size: tuple[int, int],
    batch_size: int,
    shuffle_seed: int | None,
    max_pixels: int = MAX_PIXELS,
) -> "tf.data.Dataset":
    """Images, float32 [B, H, W, 3], RGB, 0 to 255, and their classes, one-hot float32 [B, classes].

    The last batch may be smaller. Streams from the files: memory holds a few batches, however many records there are.
    The order is that of `records` or, with a seed, a permutation that depends on the seed alone; every iteration is the
    same.
    """
    import tensorflow as tf

    ordered = list(records) if shuffle_seed is None else shuffled(records, shuffle_seed)
    files = tf.constant([os.fsencode(record.file) for record in ordered], tf.string)
    class_ids = tf.constant([record.class_id for record in ordered], tf.int32)
    load = _loader(image_size, classes, max_pixels)
    return (
        tf.data.Dataset.from_tensor_slices((files, class_ids))
        .map(load, num_parallel_calls=os.cpu_count(), deterministic=True)
        .batch(batch_size)
        .prefetch(_BATCHES_AHEAD)
    )


@cache  # traced once, not again for every epoch
def _loader(image_size: tuple[int, int], classes: int, max_pixels: int) -> Any:
    import tensorflow as tf

    from serving.servable.images import decode_and_resize

    @tf.function(input_signature=[tf.TensorSpec([], tf.string), tf.TensorSpec([], tf.int32)])  # type: ignore[untyped-decorator]
    def load(file: tf.Tensor, class_id: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        return decode_and_resize(tf.io.read_file(file), image_size, max_pixels), tf.one_hot(class_id, classes)

    return load
