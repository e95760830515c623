"""The measures: how far a window is from the reference, and how probable that is where nothing has changed.

Each is a two-sample test: the reference is a finite sample too, and its own chance is in every p.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from pipeline.drift.sample import Floats, Sample
from pipeline.drift.two_sample import classifier_test

_LEAST_EXPECTED = 5.0  # in each cell, for chi-square to be near its distribution


@dataclass(frozen=True)
class Difference:
    """statistic: the size of the difference, 0 for none. p: of one at least as large where nothing has changed."""

    statistic: float
    p: float
    note: str = ""


@dataclass(frozen=True)
class Context:
    """least_samples: fewer of what a measure needs, and it is not measured."""

    least_samples: int
    random: np.random.Generator


NotMeasured = str  # why
Measure = Callable[[Sample, Sample, Context], Difference | NotMeasured]


def class_mix(reference: Sample, window: Sample, _context: Context) -> Difference | NotMeasured:
    """Predicted classes: chi-square, classes that are too rare taken together; Cramer's V, corrected for its bias."""
    from scipy.stats import chi2_contingency

    counts = _pooled(np.stack([np.bincount(each.class_id, minlength=each.classes) for each in (reference, window)]))
    columns = counts.shape[1]
    if columns < 2:
        return "nearly all predictions are of one class"
    result = chi2_contingency(counts, correction=False)
    total = counts.sum()
    # Bergsma 2013: without it V grows with the number of classes where nothing has changed
    phi = max(0.0, result.statistic / total - (columns - 1) / (total - 1))
    return Difference(float(np.sqrt(phi)), float(result.pvalue))


def confidence(reference: Sample, window: Sample, context: Context) -> Difference | NotMeasured:
    """Largest probabilities: Kolmogorov-Smirnov."""
    return _distance(reference.confidence, window.confidence, context, "probabilities")


def embedding(reference: Sample, window: Sample, context: Context) -> Difference | NotMeasured:
    """The penultimate layer's output: a classifier between both."""
    mine, theirs = reference.embeddings, window.embeddings
    if min(len(mine), len(theirs)) < context.least_samples:
        return _too_few(len(mine), len(theirs), context, "embeddings")
    if mine.shape[1] != theirs.shape[1]:
        return f"embeddings of {theirs.shape[1]} numbers; the reference's have {mine.shape[1]}"
    return Difference(*classifier_test(mine, theirs, context.random))


def brightness(reference: Sample, window: Sample, context: Context) -> Difference | NotMeasured:
    """Mean luma: Kolmogorov-Smirnov."""
    return _distance(reference.brightness, window.brightness, context, "images")


def sharpness(reference: Sample, window: Sample, context: Context) -> Difference | NotMeasured:
    """Variance of the Laplacian: Kolmogorov-Smirnov."""
    return _distance(reference.sharpness, window.sharpness, context, "images")


def size(reference: Sample, window: Sample, context: Context) -> Difference | NotMeasured:
    """Logarithm of the files' pixels: Kolmogorov-Smirnov."""
    return _distance(reference.size, window.size, context, "images")


def accuracy(reference: Sample, window: Sample, context: Context) -> Difference | NotMeasured:
    """Loss of accuracy where labels came back: Fisher's exact test, one-sided, and Wilson's 95 % interval."""
    from scipy.stats import binomtest, fisher_exact

    labelled = len(window.right)
    if min(labelled, len(reference.right)) < context.least_samples:
        return _too_few(len(reference.right), labelled, context, "labels")
    counts = [[int(each.right.sum()), int((~each.right).sum())] for each in (window, reference)]
    low, high = binomtest(counts[0][0], labelled).proportion_ci(0.95, method="wilson")
    now, before = (float(each.right.mean()) for each in (window, reference))
    note = f"{now:.3f} ({low:.3f} to {high:.3f}, {labelled} labels), reference {before:.3f}"
    return Difference(before - now, float(fisher_exact(counts, alternative="less").pvalue), note)


# Measure -> what measures it, and the configuration's key of the least difference that counts
MEASURES: dict[str, tuple[Measure, str]] = {
    "class_mix": (class_mix, "class_mix_effect"),
    "confidence": (confidence, "confidence_effect"),
    "embedding": (embedding, "embedding_effect"),
    "brightness": (brightness, "image_effect"),
    "sharpness": (sharpness, "image_effect"),
    "size": (size, "image_effect"),
    "accuracy": (accuracy, "accuracy_effect"),
}


def _distance(reference: Floats, window: Floats, context: Context, what: str) -> Difference | NotMeasured:
    from scipy.stats import ks_2samp

    if min(len(reference), len(window)) < context.least_samples:
        return _too_few(len(reference), len(window), context, what)
    result = ks_2samp(reference, window, method="asymp")
    return Difference(float(result.statistic), float(result.pvalue))


def _too_few(reference: int, window: int, context: Context, what: str) -> NotMeasured:
    place, count = ("window", window) if window < context.least_samples else ("reference", reference)
    return f"{count} {what} in the {place}, of at least {context.least_samples}"


def _pooled(counts: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    """int64 [2, classes] with the rarest columns added up until each expects enough in both rows."""
    columns = counts[:, counts.sum(axis=0).argsort()]
    share = columns.sum(axis=1).min() / columns.sum()
    while columns.shape[1] > 1 and columns[:, 0].sum() * share < _LEAST_EXPECTED:
        columns = np.concatenate([columns[:, :1] + columns[:, 1:2], columns[:, 2:]], axis=1)
        columns = columns[:, columns.sum(axis=0).argsort()]
    return columns
