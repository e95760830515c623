"""Pictures of a check: the reference and the windows, beside each other."""

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from pipeline.drift.sample import Sample

_BINS = 30
_MOST_POINTS = 1000


def pictures(reference: Sample, windows: Sequence[Sample]) -> Iterator[tuple[str, Any]]:
    """File name and Matplotlib figure; the windows are taken together, but for the projection's newest one."""
    yield "class_mix.png", _class_mix(reference, windows)
    yield "distributions.png", _distributions(reference, windows)
    if len(reference.embeddings) and windows[-1].embeddings.shape[1:] == reference.embeddings.shape[1:]:
        yield "embeddings.png", _projection(reference.embeddings, windows[-1].embeddings)


def _class_mix(reference: Sample, windows: Sequence[Sample]) -> Any:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(max(6.0, 0.5 * reference.classes), 3.5), layout="constrained")
    axes = figure.subplots()
    places = np.arange(reference.classes)
    now = np.concatenate([window.class_id for window in windows])
    for shift, class_id, label in ((-0.2, reference.class_id, "held-out images"), (0.2, now, "traffic")):
        share = np.bincount(class_id, minlength=reference.classes) / max(1, len(class_id))
        axes.bar(places + shift, share, 0.4, label=label)
    axes.set_xticks(places)
    axes.set_xlabel("predicted class")
    axes.set_ylabel("share")
    axes.legend()
    return figure


def _distributions(reference: Sample, windows: Sequence[Sample]) -> Any:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, 6), layout="constrained")
    names = {
        "confidence": "confidence",
        "brightness": "brightness",
        "sharpness": "sharpness",
        "size": "pixels of the file, log2",
    }
    for axes, (name, title) in zip(figure.subplots(2, 2).flat, names.items(), strict=True):
        before = getattr(reference, name)
        now = np.concatenate([getattr(window, name) for window in windows])
        axes.set_title(title)
        if len(now):
            edges = np.histogram_bin_edges(np.concatenate([before, now]), _BINS)
            axes.hist(before, edges, density=True, alpha=0.5, label="held-out images")
            axes.hist(now, edges, density=True, alpha=0.5, label="traffic")
            axes.legend()
        else:
            axes.text(0.5, 0.5, "not in the log", ha="center", transform=axes.transAxes)
    return figure


def _projection(reference: npt.NDArray[np.float32], window: npt.NDArray[np.float32]) -> Any:
    from matplotlib.figure import Figure
    from sklearn.decomposition import PCA

    figure = Figure(figsize=(6, 6), layout="constrained")
    axes = figure.subplots()
    projection = PCA(2 if min(reference.shape) > 1 else 1, random_state=0).fit(reference)
    for embeddings, label in ((reference, "held-out images"), (window, "newest window")):
        points = projection.transform(embeddings[:_MOST_POINTS])
        axes.scatter(points[:, 0], points[:, -1], 6, alpha=0.5, label=label)
    axes.set_xlabel("first principal component of the reference")
    axes.set_ylabel("second")
    axes.legend()
    return figure
