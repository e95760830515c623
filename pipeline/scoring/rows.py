"""The rows of the output: one an image, in parquet."""

import io
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from pipeline.scoring.items import Part


@dataclass(frozen=True)
class Stamp:
    """What every row says of what answered."""

    model: str
    version: int
    servable_digest: str
    variant: str


@dataclass(frozen=True)
class Answered:
    """What one image came to: an answer, or why there is none."""

    label: str | None = None
    class_id: int | None = None
    probabilities: Sequence[float] | None = None
    error: str | None = None


def schema() -> Any:
    """The columns, the same for every engine."""
    import pyarrow as pa

    return pa.schema(
        [
            ("row", pa.int64()),  # of the input, from 0
            ("image", pa.string()),
            ("label", pa.string()),
            ("class_id", pa.int64()),
            ("probabilities", pa.list_(pa.float32())),
            ("model", pa.string()),
            ("version", pa.int64()),
            ("servable_digest", pa.string()),
            ("variant", pa.string()),
            ("error", pa.string()),
        ]
    )


def part_file(part: Part, images: Sequence[str], answered: Sequence[Answered], stamp: Stamp) -> bytes:
    """The parquet file of a part: what its images are called, and what each came to."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    if not len(images) == len(answered) == part.images:
        raise ValueError(f"part {part.number}: {len(answered)} answers for {len(images)} of {part.images} images")
    count = len(answered)
    columns = {
        "row": range(part.first_row, part.first_row + count),
        "image": images,
        "label": [each.label for each in answered],
        "class_id": [each.class_id for each in answered],
        "probabilities": [each.probabilities for each in answered],
        "model": [stamp.model] * count,
        "version": [stamp.version] * count,
        "servable_digest": [stamp.servable_digest] * count,
        "variant": [stamp.variant] * count,
        "error": [each.error for each in answered],
    }
    table = pa.table({name: pa.array(values, schema().field(name).type) for name, values in columns.items()}, schema())
    buffer = io.BytesIO()
    pq.write_table(table, buffer)
    return buffer.getvalue()
