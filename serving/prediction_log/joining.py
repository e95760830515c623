"""Rows of one table beside those of another of the same request and image."""

from collections.abc import Iterable
from typing import Any

from serving.prediction_log.schema import KEYS


def with_columns(table: Any, others: Any, names: tuple[str, ...]) -> Any:
    """`table` with those columns of `others`, null where it has no such row; of several rows the last one counts."""
    import pyarrow as pa

    last = {key: place for place, key in enumerate(_keys(others))} if len(others) else {}
    places = pa.array([last.get(key) for key in _keys(table)] if last else [None] * len(table), pa.int64())
    for name in names:
        column = others[name].combine_chunks()
        found = column.take(places) if len(others) else pa.nulls(len(table), column.type)
        table = table.append_column(others.schema.field(name), found)
    return table


def conformed(table: Any, wanted: Any) -> Any:
    """`table` by the schema `wanted`: files of another version of Slipway may have more columns, or fewer."""
    import pyarrow as pa

    columns = [
        table[field.name].cast(field.type) if field.name in table.schema.names else pa.nulls(len(table), field.type)
        for field in wanted
    ]
    return pa.table(columns, schema=wanted)


def _keys(table: Any) -> Iterable[tuple[str, int]]:
    request_ids, rows = (table[name].to_pylist() for name in KEYS)
    return zip(request_ids, rows, strict=True)
