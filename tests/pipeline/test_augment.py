"""Shifted training images."""

import numpy as np
import pytest

from pipeline.augment import shifted


@pytest.fixture(scope="module")
def images():
    return np.random.default_rng(0).uniform(0, 255, (5, 8, 8, 3)).astype(np.float32)


def dataset(images):
    import tensorflow as tf

    return tf.data.Dataset.from_tensor_slices((images, np.arange(5))).batch(2)


def all_of(batches):
    pairs = [(moved.numpy(), classes.numpy()) for moved, classes in batches]
    return np.concatenate([moved for moved, _ in pairs]), np.concatenate([classes for _, classes in pairs])


def places(image, moved, pixels):
    """Every shift that makes `moved` of `image`."""
    padded = np.pad(image, ((pixels, pixels), (pixels, pixels), (0, 0)), mode="symmetric")
    size = 2 * pixels + 1
    return [(y, x) for y in range(size) for x in range(size) if (padded[y : y + 8, x : x + 8] == moved).all()]


def test_each_image_is_itself_moved_by_up_to_so_many_pixels(images):
    moved, classes = all_of(shifted(dataset(images), 2, seed=1))
    assert moved.shape == images.shape
    assert classes.tolist() == [0, 1, 2, 3, 4]
    found = [places(image, after, 2) for image, after in zip(images, moved, strict=True)]
    assert all(found)
    assert len({place for each in found for place in each}) > 1


def test_the_same_seed_moves_alike_and_another_one_differently(images):
    first, _ = all_of(shifted(dataset(images), 2, seed=1))
    again, _ = all_of(shifted(dataset(images), 2, seed=1))
    other, _ = all_of(shifted(dataset(images), 2, seed=2))
    np.testing.assert_array_equal(first, again)
    assert (first != other).any()


def test_an_image_of_a_part_of_a_batch_is_moved_as_it_is_in_the_whole(images):
    import tensorflow as tf

    whole, _ = all_of(shifted(dataset(images), 2, seed=1))
    part = tf.data.Dataset.from_tensor_slices((images[[1, 3, 4]], [1, 3, 4])).batch(1)  # of batches of 2, 2 and 1
    moved, _ = all_of(shifted(part, 2, 1, [(1, 2), (1, 2), (0, 1)]))
    np.testing.assert_array_equal(moved, whole[[1, 3, 4]])
