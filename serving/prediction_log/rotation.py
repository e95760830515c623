"""From journals to parquet: a file appears whole or not at all, and a journal goes only when its file is there."""

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from serving.prediction_log.deletions import deletions, without
from serving.prediction_log.joining import with_columns
from serving.prediction_log.journal import abandoned, read_journal
from serving.prediction_log.labels import with_records
from serving.prediction_log.places import journal_path, journals, model_folders, rotated, rotated_path
from serving.prediction_log.schema import FEEDBACK, LATER, RECORDS, rotated_schema, schema
from serving.prediction_log.unfinished import remove_unfinished, write_whole

_LOG = logging.getLogger(__name__)


def whole_records(paths: Mapping[str, Path]) -> Any:
    """The records of journals of one stem, with what was worked out of their images; FileNotFoundError if rotated."""
    # What came later first: it is removed last.
    later = {kind: _read(paths, kind) for kind in LATER}
    table = read_journal(paths[RECORDS], schema(RECORDS))
    for kind, others in later.items():
        table = with_columns(table, others, LATER[kind])
    return table.select(rotated_schema().names)


def rotate(folder: Path, stem: str, gone: Mapping[str, int]) -> None:
    """Make parquet of the journals of a stem, which nobody appends to, and remove them. May be done again."""
    paths = journals(folder).get(stem, {})
    done = {file.kind for file in rotated(folder, RECORDS, FEEDBACK) if file.stem == stem}
    if RECORDS in paths and RECORDS not in done:
        write_rotated(folder, RECORDS, stem, without(whole_records(paths), gone))
    if FEEDBACK in paths and FEEDBACK not in done:
        feedback = _read(paths, FEEDBACK)
        write_rotated(folder, FEEDBACK, stem, with_records(feedback, folder, gone) if gone else feedback)
    for kind in (RECORDS, FEEDBACK, *LATER):
        journal_path(folder, stem, kind).unlink(missing_ok=True)


def rotate_abandoned(log: Path) -> set[tuple[Path, str]]:
    """Rotate the journals that killed servers left; folder and stem of those that somebody still appends to.

    What they had begun to write and not finished is removed.
    """
    remove_unfinished(log)
    held = set()
    for folder in model_folders(log):
        for stem, paths in journals(folder).items():
            with abandoned(list(paths.values())) as is_free:
                if is_free:
                    _LOG.info("prediction log: what a server that ended had not rotated is: %s", folder / stem)
                    rotate(folder, stem, deletions(log))
                elif any(path.exists() for path in paths.values()):
                    held.add((folder, stem))
    return held


def write_rotated(folder: Path, kind: str, stem: str, table: Any) -> None:
    """Write a table, in order of time, to its file; nothing for an empty one."""
    import pyarrow as pa
    import pyarrow.compute as pc

    if not len(table):
        return
    # A clock may have been set back.
    table = table.sort_by([("time", "ascending")])
    ends = pc.min_max(table["time"].cast(pa.int64())).as_py()
    replace_rotated(rotated_path(folder, kind, (ends["min"], ends["max"]), stem), table)


def replace_rotated(path: Path, table: Any) -> None:
    """Write a table to that file, whole or not at all."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    stream = pa.BufferOutputStream()
    pq.write_table(table, stream, compression="zstd")
    write_whole(path, memoryview(stream.getvalue()))


def _read(paths: Mapping[str, Path], kind: str) -> Any:
    try:
        return read_journal(paths[kind], schema(kind))
    except (FileNotFoundError, KeyError):
        return schema(kind).empty_table()
