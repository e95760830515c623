"""Digits through a real small network: what a check would see of clean and of corrupted traffic, without a server.

The network learns from 500 digits. Each check divides the other 1,297 anew into a reference of 600 and the images that
its windows are drawn from, so no window shares an image with its reference, and within a window none comes twice: of
clean images, each window is an exact draw of what the reference was drawn of. Windows of one check share images, which
makes them more alike than traffic would be.
"""

import warnings
from dataclasses import dataclass, fields
from functools import cache

import numpy as np

from pipeline.drift.judging import judge
from pipeline.drift.sample import Sample
from serving.servable.image_properties import properties

LEARNED, REFERENCE, SIDE = 500, 600, 32
COST = 0.05  # of accuracy, what a corruption takes


def blurred(images, strength):
    from scipy.ndimage import gaussian_filter

    return gaussian_filter(images, (0, strength * 6, strength * 6))


def noisy(images, strength):
    noise = np.random.default_rng(0).normal(0, strength * 255, images.shape)
    return np.clip(images + noise, 0, 255)


def darkened(images, strength):
    return images * (1 - strength)


def rotated(images, strength):
    from scipy.ndimage import rotate

    return np.clip(rotate(images, strength * 90, (2, 1), reshape=False, order=1), 0, 255)


CORRUPTIONS = {"blur": blurred, "noise": noisy, "darkness": darkened, "rotation": rotated}


@dataclass(frozen=True)
class Seen:
    """What the network makes of images, all in the same order."""

    embeddings: np.ndarray
    probabilities: np.ndarray
    brightness: np.ndarray
    sharpness: np.ndarray
    true_class: np.ndarray

    @property
    def accuracy(self):
        return float((self.probabilities.argmax(1) == self.true_class).mean())

    def sample(self, chosen, *, labelled=False):
        class_id = self.probabilities[chosen].argmax(1)
        return Sample(
            classes=10,
            class_id=class_id,
            confidence=self.probabilities[chosen].max(1).astype(float),
            embeddings=self.embeddings[chosen],
            brightness=self.brightness[chosen],
            sharpness=self.sharpness[chosen],
            size=np.full(len(chosen), 6.0),
            right=(class_id == self.true_class[chosen])[: None if labelled else 0],
        )


class Digits:
    """The digits, the network, and what it sees; `seed` divides learned from held-out images and starts the weights."""

    def __init__(self, seed=0):
        from sklearn.neural_network import MLPClassifier

        images, truth = _images()
        order = np.random.default_rng(seed).permutation(len(truth))
        self._images, self._truth = images[order], truth[order]
        self._network = MLPClassifier((64,), max_iter=60, random_state=seed)
        with warnings.catch_warnings():  # it need not converge
            warnings.simplefilter("ignore")
            self._network.fit(_inputs(self._images[:LEARNED]), self._truth[:LEARNED])
        self._images, self._truth = self._images[LEARNED:], self._truth[LEARNED:]
        self.clean = self.seen(self._images)

    def seen(self, images):
        inputs = _inputs(images)
        hidden = np.maximum(inputs @ self._network.coefs_[0] + self._network.intercepts_[0], 0)
        looks = [properties(np.repeat(image[..., None], 3, axis=2)) for image in images]
        return Seen(
            hidden.astype(np.float32),
            self._network.predict_proba(inputs).astype(np.float32),
            np.array([look.brightness for look in looks]),
            np.array([look.sharpness for look in looks]),
            self._truth,
        )

    def corrupted(self, name):
        """What is seen of all images at the strength that costs 5 points of accuracy, and that strength."""
        corrupt = CORRUPTIONS[name]
        low, high = 0.0, 1.0
        for _ in range(12):
            middle = (low + high) / 2
            images = corrupt(self._images, middle)
            accuracy = float((self._network.predict(_inputs(images)) == self._truth).mean())
            low, high = (middle, high) if accuracy > self.clean.accuracy - COST else (low, middle)
        return self.seen(corrupt(self._images, high).astype(np.float32)), high

    def mixed(self, traffic, share, random):
        """What is seen where that share of the images, drawn at random, is `traffic`, and the rest is clean."""
        chosen = random.random(len(self._truth)) < share

        def of(name):
            theirs, clean = getattr(traffic, name), getattr(self.clean, name)
            return np.where(chosen.reshape(-1, *[1] * (clean.ndim - 1)), theirs, clean)

        return Seen(**{item.name: of(item.name) for item in fields(Seen)})

    def check(self, traffic, config, random, *, labelled=False):
        """One check's findings, on windows of what is `Seen`."""
        order = random.permutation(len(self._truth))
        pool = order[REFERENCE:]
        reference = self.clean.sample(order[:REFERENCE], labelled=True)
        windows = [
            traffic.sample(random.choice(pool, config.window, replace=False), labelled=labelled)
            for _ in range(config.windows)
        ]
        return judge(reference, windows, config)


def found_in(findings):
    """The measures that are found."""
    return [finding.measure for finding in findings if finding.found]


@cache
def _images():
    """float32 [1797, 32, 32], 0 to 255, and the digits that they show."""
    from scipy.ndimage import zoom
    from sklearn.datasets import load_digits

    digits = load_digits()
    images = zoom(digits.images * 255 / 16, (1, SIDE / 8, SIDE / 8), order=1)
    return np.clip(images, 0, 255).astype(np.float32), digits.target


def _inputs(images):
    return images.reshape(len(images), -1) / 255
