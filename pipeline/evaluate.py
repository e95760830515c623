"""What a network does on a split: numbers for the gate, pictures for people."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from registry.evaluation import ClassResult, Evaluation

if TYPE_CHECKING:
    import keras

    from pipeline.data import Dataset

Drawn = Callable[[npt.NDArray[np.float32]], npt.NDArray[Any]]
"""From pixels, float32 [N, H, W, 3], RGB, 0 to 255, to what a picture shows of them, of the same shape."""

_CALIBRATION_BINS = 15
_WORST = 24


def evaluate(network: "keras.Model", dataset: "Dataset", run_id: str) -> tuple[Evaluation, npt.NDArray[np.float32]]:
    """Evaluate on the held-out test split; also the probabilities, float32 [images, classes]."""
    from pipeline.data import batches

    size = network.input_shape[1:3]
    classes = len(dataset.labels)
    images = batches(dataset.test, classes, size, 32, None, max_pixels=dataset.max_pixels)
    probabilities = np.concatenate([_forward(network, pixels) for pixels, _ in images])
    truth = np.array([record.class_id for record in dataset.test], np.int32)
    return measure(probabilities, truth, dataset, run_id), probabilities


def measure(
    probabilities: npt.NDArray[np.float32], truth: npt.NDArray[np.int32], dataset: "Dataset", run_id: str
) -> Evaluation:
    """The numbers of `probabilities` [images, classes] against `truth` [images], on the dataset's test split."""
    from sklearn.metrics import f1_score, precision_recall_fscore_support

    predicted = probabilities.argmax(axis=1).astype(np.int32)
    everything = list(range(len(dataset.labels)))
    precision, recall, _, support = precision_recall_fscore_support(
        truth, predicted, labels=everything, zero_division=np.nan
    )
    of_truth = np.clip(probabilities[np.arange(len(truth)), truth].astype(np.float64), 1e-12, 1.0)
    rank = (probabilities > probabilities[np.arange(len(truth)), truth][:, None]).sum(axis=1)
    return Evaluation(
        run_id=run_id,
        dataset_digest=dataset.digest,
        split="test",
        split_digest=dataset.split_digest("test"),
        images=len(truth),
        accuracy=float((predicted == truth).mean()),
        top3_accuracy=float((rank < 3).mean()),
        macro_f1=float(f1_score(truth, predicted, labels=everything, average="macro", zero_division=0.0)),
        log_loss=float(-np.log(of_truth).mean()),
        calibration_error=expected_calibration_error(probabilities, truth),
        per_class={
            label: ClassResult(float(precision[i]), float(recall[i]), int(support[i]))
            for i, label in enumerate(dataset.labels)
        },
        labels=tuple(dataset.labels),
        truth=truth,
        predicted=predicted,
    )


def expected_calibration_error(probabilities: npt.NDArray[np.float32], truth: npt.NDArray[np.int32]) -> float:
    """Mean gap between confidence and accuracy over 15 equal bins of confidence, by images (Guo et al. 2017)."""
    confidence = probabilities.max(axis=1)
    right = probabilities.argmax(axis=1) == truth
    bins = np.minimum((confidence * _CALIBRATION_BINS).astype(int), _CALIBRATION_BINS - 1)
    gaps = [abs(right[bins == b].mean() - confidence[bins == b].mean()) * (bins == b).mean() for b in np.unique(bins)]
    return float(np.sum(gaps))


def metrics_of(evaluation: Evaluation) -> dict[str, float]:
    """The evaluation's numbers as MLflow metrics, `test_...`."""
    names = ("accuracy", "top3_accuracy", "macro_f1", "log_loss", "calibration_error")
    return {f"test_{name}": getattr(evaluation, name) for name in names}


def confusion_matrix(evaluation: Evaluation) -> Any:
    """A picture: true classes down, predicted across, counts in the cells."""
    from matplotlib.figure import Figure
    from sklearn.metrics import ConfusionMatrixDisplay
    from sklearn.metrics import confusion_matrix as count

    side = min(20.0, 2.5 + 0.4 * len(evaluation.labels))
    figure = Figure(figsize=(side, side), layout="constrained")
    counts = count(evaluation.truth, evaluation.predicted, labels=range(len(evaluation.labels)))
    ConfusionMatrixDisplay(counts, display_labels=_drawn(evaluation)).plot(
        ax=figure.subplots(), colorbar=False, xticks_rotation="vertical", include_values=len(evaluation.labels) <= 40
    )
    return figure


def per_class_bars(evaluation: Evaluation) -> Any:
    """A picture: precision and recall of each class."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(max(6.0, 0.6 * len(evaluation.labels)), 3.5), layout="constrained")
    axes = figure.subplots()
    places = np.arange(len(evaluation.labels))
    results = [evaluation.per_class[label] for label in evaluation.labels]
    axes.bar(places - 0.2, np.nan_to_num([result.precision for result in results]), 0.4, label="precision")
    axes.bar(places + 0.2, np.nan_to_num([result.recall for result in results]), 0.4, label="recall")
    axes.set_xticks(places, _drawn(evaluation), rotation=90 if len(results) > 12 else 0)
    axes.set_ylim(0, 1.02)
    axes.legend(loc="lower right")
    return figure


def mistakes(
    network: "keras.Model", evaluation: Evaluation, probabilities: npt.NDArray[np.float32], dataset: "Dataset"
) -> dict[str, Any]:
    """Pictures, by the names of their files: the worst mistakes, and heat maps over them if the network has such."""
    size = network.input_shape[1:3]
    found = {"worst_mistakes.png": worst_mistakes(evaluation, probabilities, dataset, size)}
    drawn = explained(network)
    if drawn is not None:
        found["worst_mistakes_explained.png"] = worst_mistakes(evaluation, probabilities, dataset, size, drawn)
    return found


def worst_mistakes(
    evaluation: Evaluation,
    probabilities: npt.NDArray[np.float32],
    dataset: "Dataset",
    size: tuple[int, int],
    drawn: Drawn = lambda pixels: pixels,
) -> Any:
    """A picture: the wrong answers given with most confidence; `drawn` makes what is shown of their pixels."""
    import tensorflow as tf
    from matplotlib.figure import Figure

    from serving.servable.images import decode_batch

    wrong = np.flatnonzero(evaluation.predicted != evaluation.truth)
    worst = wrong[np.argsort(-probabilities[wrong].max(axis=1))][:_WORST]
    files = [dataset.test[index].file.read_bytes() for index in worst]
    pictures: Any = drawn(decode_batch(tf.constant(files), size, dataset.max_pixels).numpy()) if files else []
    rows = max(1, -(-len(worst) // 6))
    figure = Figure(figsize=(9, 1.9 * rows), layout="constrained")
    cells = list(figure.subplots(rows, 6, squeeze=False).flat)
    for axes in cells:
        axes.set_axis_off()
    for axes, index, pixels in zip(cells, worst, pictures, strict=False):
        axes.imshow(pixels.astype(np.uint8))
        said, true = (_drawn(evaluation)[of[index]] for of in (evaluation.predicted, evaluation.truth))
        axes.set_title(f"{said} ({probabilities[index].max():.2f})\nis {true}", fontsize=8)
    if not len(worst):
        figure.suptitle("no mistakes on this split")
    return figure


def explained(network: "keras.Model") -> "Drawn | None":
    """What draws heat maps over pixels, of the class that `network` sees; None if it has no feature map."""
    from pipeline.overlay import overlay
    from serving.servable.explaining import explain_network

    explain = explain_network(network)
    if explain is None:
        return None

    def draw(pixels: npt.NDArray[np.float32]) -> npt.NDArray[Any]:
        maps = explain(pixels)["heat_map"].numpy()
        return np.stack([np.asarray(overlay(image, heat_map)) for image, heat_map in zip(pixels, maps, strict=True)])

    return draw


def _drawn(evaluation: Evaluation) -> list[str]:
    """Labels for a picture: Matplotlib reads dollar signs as mathematics."""
    return [label.replace("$", r"\$") for label in evaluation.labels]


def _forward(network: "keras.Model", pixels: Any) -> npt.NDArray[np.float32]:
    return np.asarray(network.predict_on_batch(pixels), np.float32)
