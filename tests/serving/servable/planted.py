"""A task that has one answer to where a network must look: a square, red or blue, somewhere in noise, or none."""

import numpy as np

SIDE, SQUARE = 32, 8
LABELS = ("none", "blue", "red")
_COLOURS = {1: (0, 0, 255), 2: (255, 0, 0)}


def pictures(count, seed):
    """uint8 [count, SIDE, SIDE, 3], the class of each, and where its square is, bool [count, SIDE, SIDE]."""
    rng = np.random.default_rng(seed)
    pixels = np.repeat(rng.integers(0, 120, (count, SIDE, SIDE, 1)), 3, axis=-1).astype(np.uint8)
    classes = np.arange(count) % 3
    squares = np.zeros((count, SIDE, SIDE), bool)
    for index in np.flatnonzero(classes):
        top, left = rng.integers(0, SIDE - SQUARE + 1, 2)
        squares[index, top : top + SQUARE, left : left + SQUARE] = True
        pixels[index][squares[index]] = _COLOURS[int(classes[index])]
    return pixels, classes, squares


def train(head="avg", epochs=6):
    """A network of two convolutions that tells the squares apart by what they are alone."""
    import keras

    keras.utils.set_random_seed(0)
    layers = keras.layers
    pooled = layers.Flatten() if head == "flatten" else layers.GlobalAveragePooling2D()
    network = keras.Sequential(
        [
            keras.Input((SIDE, SIDE, 3)),
            layers.Rescaling(1 / 255),
            layers.Conv2D(8, 3, activation="relu", padding="same"),
            layers.Conv2D(16, 3, strides=2, activation="relu", padding="same"),
            pooled,
            layers.Dense(16, activation="relu"),
            layers.Dense(3, activation="softmax"),
        ],
        name="planted",
    )
    pixels, classes, _ = pictures(510, seed=1)
    network.compile(keras.optimizers.Adam(0.01), "sparse_categorical_crossentropy", metrics=["accuracy"])
    network.fit(pixels.astype(np.float32), classes, batch_size=64, epochs=epochs, verbose=0)
    return network
