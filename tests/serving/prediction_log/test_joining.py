"""Columns of another table come by request and image, whatever the order, and of several rows the last one counts."""

import pyarrow as pa
from hypothesis import given, settings
from hypothesis import strategies as st

from serving.prediction_log.joining import with_columns

KEYS = st.tuples(st.one_of(st.sampled_from(["1-a-0", "1-a-1", "", "1 1"]), st.text(max_size=3)), st.integers(0, 2))


def table(keys, **columns):
    request_ids, rows = zip(*keys, strict=True) if keys else ((), ())
    whole = pa.table({"request_id": pa.array(request_ids, pa.string()), "row": pa.array(rows, pa.int32()), **columns})
    half = len(keys) // 2
    return pa.concat_tables([whole.slice(0, half), whole.slice(half)])  # in chunks, as files give them


@settings(max_examples=300, deadline=None)
@given(mine=st.lists(KEYS, max_size=12), theirs=st.lists(KEYS, max_size=12))
def test_a_row_has_the_last_of_those_with_its_key(mine, theirs):
    lists = pa.array([[float(place)] for place in range(len(theirs))], pa.list_(pa.float32()))
    others = table(theirs, true_class=pa.array(range(len(theirs)), pa.int32()), embedding=lists)
    found = with_columns(table(mine), others, ("true_class", "embedding"))
    last = {key: place for place, key in enumerate(theirs)}
    assert found["true_class"].to_pylist() == [last.get(key) for key in mine]
    assert found["embedding"].to_pylist() == [None if key not in last else [float(last[key])] for key in mine]
    assert found.schema.field("embedding") == others.schema.field("embedding")
