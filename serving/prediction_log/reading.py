"""The log as a table: rotated files and the journals of servers that run, or were killed, with the labels that came."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from serving.prediction_log.deletions import deletions, without
from serving.prediction_log.joining import conformed, with_columns
from serving.prediction_log.journal import read_journal
from serving.prediction_log.parquet import file_errors, read_parquet
from serving.prediction_log.places import Rotated, journals, model_folder, rotated
from serving.prediction_log.rotation import whole_records
from serving.prediction_log.schema import FEEDBACK, KEYS, RECORDS, rotated_schema, schema
from slipway.errors import UnavailableError

_TRIES = 20  # each time that a file was rotated or removed while it was to be read
_MICROSECOND = 1_000_000


class Window(NamedTuple):
    """Which rows: from `since` until before `until`, of one version or of all. A time without a zone is UTC."""

    since: datetime | None = None
    until: datetime | None = None
    version: int | None = None


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
    return read_last(folder, model, Window(since, until, version))


def read_last(
    folder: Path, model: str, window: Window, count: int | None = None, columns: Sequence[str] | None = None
) -> Any:
    """As read_records, the last `count` rows alone, from no more files than it takes; None for all.

    columns: only those of a record, and `time`, `request_id` and `row`. `true_class` comes in any case.
    """
    wanted = _wanted(columns)
    table = _read(lambda: _records(model_folder(folder, model), _Rows(window, wanted, deletions(folder)), count))
    table = table.sort_by([("time", "ascending")])
    if count is not None:
        table = table.slice(max(0, len(table) - count))
    since = table["time"][0].as_py() if count is not None and len(table) else window.since
    return with_columns(table, read_feedback(folder, model, since), ("true_class",))


def read_each(
    folder: Path, model: str, window: Window, columns: Sequence[str], made: Callable[[Any], Any]
) -> list[Any]:
    """What `made` makes of the rows of each file, as `read_last` would have them; one file is in memory at a time.

    A log, or a model, without files has none.
    """
    place = model_folder(folder, model)
    feedback = read_feedback(folder, model, window.since)
    rows = _Rows(window, _wanted(columns), deletions(folder))
    found: list[Any] = _read(
        lambda: [made(with_columns(table, feedback, ("true_class",))) for table in _file_by_file(place, rows)]
    )
    return found


def read_feedback(folder: Path, model: str, since: datetime | None = None) -> Any:
    """A table of the true classes that came since then, in the order that they came in."""
    first_us = _microseconds(since)
    place = model_folder(folder, model)
    return _read(lambda: _feedback(place, first_us)).sort_by([("time", "ascending")])


def _wanted(columns: Sequence[str] | None) -> list[str]:
    return [name for name in rotated_schema().names if columns is None or name in {"time", *KEYS, *columns}]


def _read(read: Callable[[], Any]) -> Any:
    for _ in range(_TRIES):
        try:
            return read()
        except FileNotFoundError:
            continue
    raise UnavailableError("the prediction log's files are rotated faster than they can be read. Run it again.")


class _Rows:
    """What is taken of each file: rows of a window that were not deleted, and of those some columns."""

    def __init__(self, window: Window, columns: list[str], gone: Mapping[str, int]) -> None:
        import pyarrow as pa

        self.first_us, self.last_us = _microseconds(window.since), _microseconds(window.until)
        self._version = window.version
        self.columns = columns
        self._gone = gone
        fields = rotated_schema()
        self._read = pa.schema([field for field in fields if field.name in {*columns, "version", "client"}])

    def hold(self, file: Rotated) -> bool:
        """Whether its rows may be of that time."""
        return (self.first_us is None or file.last_us >= self.first_us) and (
            self.last_us is None or file.first_us < self.last_us
        )

    def of_file(self, path: Path) -> Any:
        return self.of_table(_parquet(path, self._read))

    def of_table(self, table: Any) -> Any:
        table = without(table, self._gone)
        return _chosen(table, self.first_us, self.last_us, self._version).select(self.columns)


def _records(place: Path, rows: _Rows, count: int | None) -> Any:
    import pyarrow as pa

    journalled, files = _sources(place)
    tables = [rows.of_table(whole_records(paths)) for paths in journalled]
    # The newest first, until no older file can hold one of the last rows.
    for file in sorted(filter(rows.hold, files), key=lambda file: file.last_us, reverse=True):
        if count is not None and file.last_us < _time_of_last(tables, count):
            break
        tables.insert(0, rows.of_file(file.path))
    fields = rotated_schema()
    wanted = pa.schema([field for field in fields if field.name in rows.columns])
    return _together(tables, wanted)


def _file_by_file(place: Path, rows: _Rows) -> Iterator[Any]:
    journalled, files = _sources(place)
    for paths in journalled:
        yield rows.of_table(whole_records(paths))
    for file in filter(rows.hold, files):
        yield rows.of_file(file.path)


def _sources(place: Path) -> tuple[list[dict[str, Path]], list[Rotated]]:
    """The journals that are not rotated, and the rotated files."""
    # The journals first: what is rotated between the two is then in both rather than in none.
    live = journals(place)
    files = rotated(place, RECORDS)
    done = {file.stem for file in files}
    return [paths for stem, paths in live.items() if RECORDS in paths and stem not in done], files


def _time_of_last(tables: Sequence[Any], count: int) -> int:
    """Of the last row but `count` - 1, in microseconds; before every row if there are fewer."""
    import pyarrow as pa

    count = max(1, count)
    if sum(map(len, tables)) < count:
        return -1
    times = np.concatenate([table["time"].cast(pa.int64()).to_numpy() for table in tables])
    return int(np.partition(times, len(times) - count)[len(times) - count])


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
    with file_errors(path):
        return conformed(read_parquet(path, wanted.names), wanted)


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
