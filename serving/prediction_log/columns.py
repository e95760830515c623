"""From answers to columns: what was predicted, in a few large steps instead of a step a row."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import chain
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import numpy.typing as npt

from serving.prediction_log.schema import FEEDBACK, RECORDS, schema

if TYPE_CHECKING:
    from serving.wire.meta_graph_pb2 import SignatureDef


class Answer(NamedTuple):
    """An answered request, by reference: nothing of it is copied while somebody waits.

    classes: the most probable one of each image. output: float [N, classes], if there was such. client: what the
    split knows it by, or "". inputs: of the signature; None where nobody wants them, or memory is short. signatures:
    the version's.
    """

    time_us: int
    request_id: str
    model: str
    version: int
    label: str
    digest: str
    signature: str
    variant: str
    latency_ms: float
    classes: tuple[int, ...]
    output: npt.NDArray[Any] | None
    client: str
    inputs: "Mapping[str, npt.NDArray[Any]] | None"
    signatures: "Mapping[str, SignatureDef]"


class Labels(NamedTuple):
    """The true classes of an answered request's images."""

    time_us: int
    model: str
    request_id: str
    classes: tuple[int, ...]


def records_batch(answers: Sequence[Answer], digest_of: Callable[[str], str]) -> Any:
    """A record batch of RECORDS, a row an image; `digest_of` a client is what stands for it."""
    import pyarrow as pa

    counts = np.fromiter((len(answer.classes) for answer in answers), np.int64, len(answers))
    whose = pa.array(np.repeat(np.arange(len(answers)), counts))
    fields = schema(RECORDS)

    def of_request(name: str, values: Sequence[Any]) -> Any:
        return pa.array(values, fields.field(name).type).take(whose)

    confidences, probabilities = _of_outputs(answers)
    columns = {
        "time": pa.array(np.fromiter((answer.time_us for answer in answers), np.int64))
        .cast(fields.field("time").type)
        .take(whose),
        "row": pa.array(_rows(counts)),
        "class_id": pa.array(
            np.fromiter(chain.from_iterable(answer.classes for answer in answers), np.int64).astype(np.int32)
        ),
        "confidence": confidences,
        "probabilities": probabilities,
        "client": of_request("client", [digest_of(answer.client) if answer.client else None for answer in answers]),
    }
    for name in ("request_id", "model", "version", "label", "digest", "signature", "variant", "latency_ms"):
        columns[name] = of_request(name, [getattr(answer, name) for answer in answers])
    return pa.record_batch([columns[field.name] for field in fields], schema=fields)


def feedback_batch(feedback: Sequence[Labels]) -> Any:
    """A record batch of FEEDBACK, a row an image."""
    rows = [
        {"time": labels.time_us, "request_id": labels.request_id, "row": row, "true_class": class_id}
        for labels in feedback
        for row, class_id in enumerate(labels.classes)
    ]
    return rows_batch(FEEDBACK, rows)


def rows_batch(kind: str, rows: Iterable[Mapping[str, Any]]) -> Any:
    """A record batch of rows of that kind."""
    import pyarrow as pa

    return pa.RecordBatch.from_pylist([*rows], schema(kind))


def _rows(counts: npt.NDArray[np.int64]) -> npt.NDArray[np.int32]:
    """0, 1, ... for the images of each request."""
    ends = np.cumsum(counts)
    return (np.arange(ends[-1]) - np.repeat(ends - counts, counts)).astype(np.int32)


def _of_outputs(answers: Sequence[Answer]) -> tuple[Any, Any]:
    """Confidences and probabilities of all rows; null for those of requests without `output`."""
    import pyarrow as pa

    values, confidences, lengths, missing = [], [], [], []
    for answer in answers:
        count, output = len(answer.classes), answer.output
        if output is None:
            confidences.append(np.zeros(count, np.float32))
            lengths.append(np.zeros(count, np.int32))
        else:
            values.append(output.astype(np.float32, copy=False).reshape(-1))
            confidences.append(output.max(axis=1).astype(np.float32, copy=False))
            lengths.append(np.full(count, output.shape[1], np.int32))
        missing.append(np.full(count, output is None))
    mask = pa.array(np.concatenate(missing))
    offsets = np.concatenate([np.zeros(1, np.int32), np.cumsum(np.concatenate(lengths), dtype=np.int32)])
    flat = np.concatenate(values) if values else np.zeros(0, np.float32)
    probabilities = pa.ListArray.from_arrays(pa.array(offsets), pa.array(flat), mask=mask)
    return pa.array(np.concatenate(confidences), mask=np.concatenate(missing)), probabilities
