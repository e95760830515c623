"""A sample: what the measures compare, whether it comes from held-out images or from the prediction log."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    from serving.servable.reference import Reference

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True, eq=False)  # arrays do not compare to a bool
class Sample:
    """Of n images; an array is shorter where some of them lack what it holds."""

    classes: int
    class_id: npt.NDArray[np.int64]  # [n], predicted
    confidence: Floats  # [up to n]
    embeddings: npt.NDArray[np.float32]  # [up to n, d]
    brightness: Floats  # [up to n], as are the next two
    sharpness: Floats
    size: Floats  # log2 of width times height
    right: npt.NDArray[np.bool_]  # [up to n], whether the predicted class is the true one

    def __len__(self) -> int:
        return len(self.class_id)


def of_reference(reference: "Reference") -> Sample:
    """The held-out images of a servable."""
    return Sample(
        classes=reference.probabilities.shape[1],
        class_id=reference.class_id.astype(np.int64),
        confidence=reference.probabilities.max(axis=1).astype(np.float64),
        embeddings=reference.embeddings,
        brightness=reference.brightness.astype(np.float64),
        sharpness=reference.sharpness.astype(np.float64),
        size=_size(reference.width, reference.height),
        right=reference.class_id == reference.true_class,
    )


def of_records(records: Any, classes: int) -> Sample:
    """Rows of the prediction log, a `pyarrow.Table`. Records of no known class are left out."""
    import pyarrow.compute as pc

    known = pc.and_(pc.greater_equal(records["class_id"], 0), pc.less(records["class_id"], classes))
    records = records.filter(known)
    labelled = records.filter(pc.is_valid(records["true_class"]))
    sized = records.filter(pc.and_(pc.greater(records["width"], 0), pc.greater(records["height"], 0)))
    return Sample(
        classes=classes,
        class_id=records["class_id"].to_numpy().astype(np.int64),
        confidence=_floats(records["confidence"]),
        embeddings=_embeddings(records["embedding"]),
        brightness=_floats(records["brightness"]),
        sharpness=_floats(records["sharpness"]),
        size=_size(sized["width"].to_numpy(), sized["height"].to_numpy()),
        right=labelled["class_id"].to_numpy() == labelled["true_class"].to_numpy(),
    )


def _size(width: npt.NDArray[Any], height: npt.NDArray[Any]) -> Floats:
    found: Floats = np.log2(width.astype(np.float64) * height.astype(np.float64))
    return found


def _floats(column: Any) -> Floats:
    values: Floats = column.drop_null().to_numpy().astype(np.float64)
    return values[np.isfinite(values)]


def _embeddings(column: Any) -> npt.NDArray[np.float32]:
    """float32 [m, d] of the m rows that have one; d is the last row's, and rows of another are left out."""
    rows = [np.asarray(row, np.float32) for row in column.drop_null().to_numpy()]
    rows = [row for row in rows if len(row) == len(rows[-1]) and np.isfinite(row).all()]
    return np.stack(rows) if rows else np.zeros((0, 0), np.float32)
