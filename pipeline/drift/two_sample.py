"""A classifier between two samples of embeddings (Lopez-Paz & Oquab 2017): if it can tell them apart, they differ."""

import warnings
from typing import Any

import numpy as np
import numpy.typing as npt

_COMPONENTS = 50
_REGULARISATION = 0.1  # scikit-learn's C


def classifier_test(
    reference: npt.NDArray[np.float32], window: npt.NDArray[np.float32], random: np.random.Generator
) -> tuple[float, float]:
    """Area under the curve of a logistic regression between both, less 0.5, and p.

    As many of each, split in halves: what was fitted on one half judges the other one, and the other way round. Whether
    a judgement is right is a fair coin where both are of one distribution, so each half has an exact binomial test;
    p is twice the smaller one, which holds however the halves depend on each other.

    reference, window: float32 [n, d], [m, d]; d is the same.
    """
    from scipy.stats import binomtest
    from sklearn.metrics import roc_auc_score

    half = min(len(reference), len(window)) // 2
    chosen = [sample[random.permutation(len(sample))[: 2 * half]] for sample in (reference, window)]
    halves = [np.concatenate([sample[part * half : (part + 1) * half] for sample in chosen]) for part in (0, 1)]
    truth = np.repeat([False, True], half)
    areas, values = [], []
    for learned, judged in ((0, 1), (1, 0)):
        score = _scores(halves[learned], truth, halves[judged])
        areas.append(float(roc_auc_score(truth, score)))
        values.append(float(binomtest(int(((score > 0) == truth).sum()), 2 * half, 0.5, "greater").pvalue))
    return float(np.mean(areas)) - 0.5, min(1.0, 2 * min(values))


def _scores(learned: npt.NDArray[np.float32], truth: npt.NDArray[np.bool_], judged: npt.NDArray[np.float32]) -> Any:
    """How much more each of `judged` is of the second sample, by a classifier that `learned` alone has made."""
    from sklearn.decomposition import PCA
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler
    from threadpoolctl import threadpool_limits

    components = min(_COMPONENTS, learned.shape[1], len(learned) - 1)
    network = make_pipeline(
        PCA(components, random_state=0), StandardScaler(), LogisticRegression(C=_REGULARISATION, max_iter=200)
    )
    with (
        threadpool_limits(1),  # matrices this small take longer by several threads
        warnings.catch_warnings(),
    ):
        warnings.simplefilter("ignore")  # a classifier that has not converged is a valid test, if a weaker one
        return network.fit(learned, truth).decision_function(judged)
