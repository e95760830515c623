"""Rows of one table beside those of another of the same request and image."""

from typing import Any

from serving.prediction_log.schema import KEYS


def with_columns(table: Any, others: Any, names: tuple[str, ...]) -> Any:
    """`table` with those columns of `others`, null where it has no such row; of several rows the last one counts."""
    import pyarrow as pa
    import pyarrow.compute as pc

    # Of equal keys the first is found, so the last comes first.
    backwards = others.take(pa.array(range(len(others) - 1, -1, -1), pa.int64()))
    places = pc.index_in(_keys(table), value_set=_keys(backwards))
    for name in names:
        table = table.append_column(others.schema.field(name), backwards[name].combine_chunks().take(places))
    return table


def conformed(table: Any, wanted: Any) -> Any:
    """`table` by the schema `wanted`: files of another version of Slipway may have more columns, or fewer."""
    import pyarrow as pa

    columns = [
        table[field.name].cast(field.type) if field.name in table.schema.names else pa.nulls(len(table), field.type)
        for field in wanted
    ]
    return pa.table(columns, schema=wanted)


def _keys(table: Any) -> Any:
    """An array with a text for each row, since Arrow looks up single columns alone."""
    import pyarrow as pa
    import pyarrow.compute as pc

    request_ids, rows = (table[name].combine_chunks() for name in KEYS)
    return pc.binary_join_element_wise(rows.cast(pa.string()), request_ids, " ")
