"""What `predict` is given, as a model server wants it: a table with one of the servable's two inputs as its column."""

import base64
import binascii
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from slipway.errors import InputError

PIXELS, FILES = "input", "image_bytes"
_WRAPPERS = ("dataframe_records", "instances", "inputs")
SIGNATURES = {PIXELS: "serving_default", FILES: "serving_bytes"}
_EXPECTED = (
    f"expected a column {PIXELS!r} (pixels: [height, width, 3] numbers from 0 to 255 a row) or {FILES!r} "
    "(an encoded image a row: bytes, or base64 text)"
)


@dataclass(frozen=True)
class Request:
    """The rows of one request. `column` is float32 [N, H, W, 3] for `input`, N encoded files for `image_bytes`."""

    signature: str
    name: str
    column: npt.NDArray[Any]


def read_inputs(inputs: Any) -> Request:
    """Read a DataFrame, records, a mapping of columns, an array of pixels, or what MLflow's scoring JSON wraps them in.

    InputError for anything else.
    """
    columns = {name: list(column) for name, column in _columns(_unwrapped(inputs)).items()}
    filled = [name for name, column in columns.items() if not _empty(column)]
    if len(filled) != 1 or filled[0] not in SIGNATURES:
        found = ", ".join(repr(name) for name in filled) or "no rows"
        raise InputError(f"predict: the inputs have {found}; {_EXPECTED}, and no other.")
    (name,) = filled
    rows = columns[name]
    return Request(SIGNATURES[name], name, _pixels(rows) if name == PIXELS else _files(rows))


def _unwrapped(inputs: Any) -> Any:
    """The table inside a key of MLflow's scoring protocol; `mlflow deployments predict` makes that key a column."""
    if isinstance(inputs, Mapping) or hasattr(inputs, "columns"):
        return next((inputs[key] for key in _WRAPPERS if list(inputs) == [key]), inputs)
    return inputs


def _columns(table: Any) -> dict[Any, Any]:
    if hasattr(table, "columns") or isinstance(table, Mapping):
        return {name: table[name] for name in table}
    if hasattr(table, "tolist") and not isinstance(table, np.ndarray):  # a column of a DataFrame
        table = table.tolist()
    if isinstance(table, Sequence) and table and all(isinstance(row, Mapping) for row in table):
        names = dict.fromkeys(name for row in table for name in row)
        return {name: [row.get(name) for row in table] for name in names}
    if isinstance(table, np.ndarray | Sequence) and not isinstance(table, str | bytes):
        return {PIXELS: table}
    raise InputError(f"predict: the inputs are a {type(table).__name__}; {_EXPECTED}.")


def _empty(column: Iterable[Any]) -> bool:
    """Whether no row has it: a table with both optional columns is what MLflow makes of either."""
    return all(value is None or (isinstance(value, float) and np.isnan(value)) for value in column)


def _pixels(rows: list[Any]) -> npt.NDArray[Any]:
    try:
        pixels = np.array(rows, dtype=np.float32)
    except (ValueError, TypeError) as error:
        raise InputError(
            f"predict: column {PIXELS!r} is no array of numbers of one size ({error}); {_EXPECTED}."
        ) from error
    if pixels.ndim != 4 or pixels.shape[3] != 3:
        raise InputError(f"predict: column {PIXELS!r} has shape {list(pixels.shape)} in all; {_EXPECTED}.")
    return pixels


def _files(rows: list[Any]) -> npt.NDArray[Any]:
    column = np.empty(len(rows), object)
    column[:] = [_encoded(row, number) for number, row in enumerate(rows)]
    return column


def _encoded(value: Any, row: int) -> bytes:
    if isinstance(value, Mapping) and set(value) == {"b64"}:
        value = value["b64"]
    if isinstance(value, bytes | bytearray):
        return bytes(value)
    try:
        return base64.b64decode(value, validate=True)
    except (TypeError, ValueError, binascii.Error) as error:
        raise InputError(f"predict: row {row} of column {FILES!r} is no base64 ({error}); {_EXPECTED}.") from error


def to_instances(request: Request) -> list[dict[str, Any]]:
    """The rows as TensorFlow Serving's REST API takes them."""
    if request.name == FILES:
        return [{FILES: {"b64": base64.b64encode(each).decode("ascii")}} for each in request.column]
    return [{PIXELS: each} for each in request.column.tolist()]


def to_rows(outputs: Mapping[str, npt.NDArray[Any]]) -> list[dict[str, Any]]:
    """A gRPC answer's outputs as rows of plain JSON values."""
    columns = [[_plain(value) for value in column.tolist()] for column in outputs.values()]
    return [dict(zip(outputs, row, strict=True)) for row in zip(*columns, strict=True)]


def _plain(value: Any) -> Any:
    return value.decode() if isinstance(value, bytes) else value
