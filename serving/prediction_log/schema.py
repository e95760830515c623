"""What the files of the log hold, as Arrow says it; pyarrow is imported when it is first needed."""

import importlib.util
from functools import cache
from typing import Any

from slipway.errors import InputError

# extras: what is worked out of images; inputs: what is kept of them.
RECORDS, EXTRAS, INPUTS, FEEDBACK = KINDS = ("records", "extras", "inputs", "feedback")
KEYS = ("request_id", "row")  # of one image of one request, in every file
LATER = {
    EXTRAS: ("embedding", "brightness", "sharpness", "width", "height"),
    INPUTS: ("input_digest", "pixels"),
}
INSTALL = "pip install 'slipway[prediction-log]'"


def check_pyarrow() -> None:
    """InputError with the line that installs it where pyarrow is missing; does not import it."""
    if importlib.util.find_spec("pyarrow") is None:
        raise InputError(
            f"the prediction log is parquet, and pyarrow, which writes and reads it, is not installed. Run: {INSTALL}"
        )


def import_arrow() -> None:
    """Import what writing a journal takes: half a second, or several on a machine that has much else to do."""
    import pyarrow as pa
    import pyarrow.compute

    assert pyarrow.compute is not None
    # The first list that becomes an array has pandas imported, where that is installed.
    pa.RecordBatch.from_pylist([], schema(FEEDBACK))
    pa.array([0])


@cache
def rotated_schema() -> Any:
    """The columns of a record as it is read, but for `true_class`, which comes with feedback."""
    check_pyarrow()
    import pyarrow as pa

    text = pa.string()
    return pa.schema(
        {
            "time": pa.timestamp("us", tz="UTC"),
            "request_id": text,
            "row": pa.int32(),
            "model": text,
            "version": pa.int64(),
            "label": text,
            "digest": text,
            "signature": text,
            "variant": text,
            "latency_ms": pa.float32(),
            "class_id": pa.int32(),
            "confidence": pa.float32(),
            "probabilities": pa.list_(pa.float32()),
            "embedding": pa.list_(pa.float32()),
            "brightness": pa.float32(),
            "sharpness": pa.float32(),
            "width": pa.int32(),
            "height": pa.int32(),
            "client": text,
            "input_digest": text,
            "pixels": pa.binary(),
        }
    )


@cache
def schema(kind: str) -> Any:
    """The columns of a journal of that kind."""
    full = rotated_schema()
    import pyarrow as pa

    if kind == FEEDBACK:
        kept = [full.field("time"), *(full.field(name) for name in KEYS), pa.field("true_class", pa.int32())]
    elif kind in LATER:
        kept = [full.field(name) for name in (*KEYS, *LATER[kind])]
    else:
        kept = [field for field in full if not any(field.name in names for names in LATER.values())]
    return pa.schema(kept)
