"""The log as a table: rotated files and the journals of servers that run, or were killed, with the labels that came."""

from collections.abc import Callable, Iterable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from serving.prediction_log.deletions import deletions, without
from serving.prediction_log.joining import conformed, with_columns
from serving.prediction_log.journal import read_journal
from serving.prediction_log.places import journals, model_folder, rotated
from serving.prediction_log.rotation import whole_records
from serving.prediction_log.schema import FEEDBACK, RECORDS, rotated_schema, schema
from slipway.errors import UnavailableError

_TRIES = 20  # each time that a file was rotated or removed while it was to be read
_MICROSECOND = 1_000_000


def read_records(
    folder: Path,
    model: str,
    *,
    since: datetime | None = None,
    until: datetime | None = None,
    version: int | None = None,
) -> Any:
    """A pyarrow.Table of the records of a model in the log `folder`, in order of time; a row an image.

    since: from then on; until: before then; a time without a zone is UTC. version: of that version alone. `true_class`
    is the last that feedback said. A log, or a model, that is not there has no rows. InputError if pyarrow is missing.
    """
    first_us, last_us = _microseconds(since), _microseconds(until)
    place = model_folder(folder, model)

    def is_wanted(file: Any) -> bool:
        return (first_us is None or file.last_us >= first_us) and (last_us is None or file.first_us < last_us)

    table = _read(lambda: _records(place, is_wanted))
    table = _chosen(without(table, deletions(folder)), first_us, last_us, version)
    return with_columns(table.sort_by([("time", "ascending")]), read_feedback(folder, model, since), ("true_class",))


def read_feedback(folder: Path, model: str, since: datetime | None = None) -> Any:
    """A table of the true classes that came since then, in the order that they came in."""
    first_us = _microseconds(since)
    place = model_folder(folder, model)
    return _read(lambda: _feedback(place, first_us)).sort_by([("time", "ascending")])


def _read(read: Callable[[], Any]) -> Any:
    for _ in range(_TRIES):
        try:
            return read()
        except FileNotFoundError:
            continue
    raise UnavailableError("the prediction log's files are rotated faster than they can be read. Run it again.")


def _records(place: Path, is_wanted: Callable[[Any], bool]) -> Any:
    # The journals first: what is rotated between the two is then in both rather than in none.
    live = journals(place)
    files = rotated(place, RECORDS)
    done = {file.stem for file in files}
    tables = [_parquet(file.path, rotated_schema()) for file in files if is_wanted(file)]
    journalled = [paths for stem, paths in live.items() if RECORDS in paths and stem not in done]
    return _together([*tables, *map(whole_records, journalled)], rotated_schema())


def _feedback(place: Path, first_us: int | None) -> Any:
    live = journals(place)
    files = rotated(place, FEEDBACK)
    wanted = schema(FEEDBACK)
    tables = [_parquet(file.path, wanted) for file in files if first_us is None or file.last_us >= first_us]
    done = {file.stem for file in files}
    for stem, paths in live.items():
        if FEEDBACK in paths and stem not in done:
            tables.append(read_journal(paths[FEEDBACK], wanted))
    return _together(tables, wanted)


def _parquet(path: Path, wanted: Any) -> Any:
    import pyarrow.parquet as pq

    return conformed(pq.ParquetFile(path).read(), wanted)


def _together(tables: Iterable[Any], wanted: Any) -> Any:
    import pyarrow as pa

    return pa.concat_tables([wanted.empty_table(), *tables])


def _chosen(table: Any, first_us: int | None, last_us: int | None, version: int | None) -> Any:
    import pyarrow as pa
    import pyarrow.compute as pc

    def moment(time_us: int) -> Any:
        return pa.scalar(time_us, pa.timestamp("us", tz="UTC"))

    if first_us is not None:
        table = table.filter(pc.greater_equal(table["time"], moment(first_us)))
    if last_us is not None:
        table = table.filter(pc.less(table["time"], moment(last_us)))
    return table if version is None else table.filter(pc.equal(table["version"], version))


def _microseconds(moment: datetime | None) -> int | None:
    if moment is None:
        return None
    return round((moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp() * _MICROSECOND)
