"""From journals to parquet: a file appears whole or not at all, and a journal goes only when its file is there."""

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from serving.prediction_log.deletions import deletions, without
from serving.prediction_log.joining import with_columns
from serving.prediction_log.journal import abandoned, read_journal
from serving.prediction_log.labels import with_records
from serving.prediction_log.parquet import file_errors, replace_parquet
from serving.prediction_log.places import journal_path, journals, model_folders, rotated, rotated_path
from serving.prediction_log.schema import FEEDBACK, LATER, RECORDS, rotated_schema, schema
from serving.prediction_log.unfinished import remove_unfinished
from slipway.errors import SlipwayError

_LOG = logging.getLogger(__name__)


class Unrotated(NamedTuple):
    """held: folder and stem of journals that somebody still appends to. failed: why others could not be rotated."""

    held: frozenset[tuple[Path, str]]
    failed: tuple[SlipwayError, ...]


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


def rotate_abandoned(log: Path) -> Unrotated:
    """Rotate the journals that killed servers left, but for those that cannot be; what is left then.

    What they had begun to write and not finished is removed.
    """
    remove_unfinished(log)
    held, failed = set(), []
    for folder in model_folders(log):
        for stem, paths in journals(folder).items():
            try:
                with file_errors(folder / stem):
                    if _is_held(log, folder, stem, paths):
                        held.add((folder, stem))
            except SlipwayError as error:
                failed.append(error)
            except FileNotFoundError:  # somebody removes the folder
                continue
    return Unrotated(frozenset(held), tuple(failed))


def write_rotated(folder: Path, kind: str, stem: str, table: Any) -> None:
    """Write a table, in order of time, to its file; nothing for an empty one."""
    import pyarrow as pa
    import pyarrow.compute as pc

    if not len(table):
        return
    # A clock may have been set back.
    table = table.sort_by([("time", "ascending")])
    ends = pc.min_max(table["time"].cast(pa.int64())).as_py()
    replace_parquet(rotated_path(folder, kind, (ends["min"], ends["max"]), stem), table)


def _is_held(log: Path, folder: Path, stem: str, paths: Mapping[str, Path]) -> bool:
    """Whether somebody still appends to journals of that stem; they are rotated if not."""
    with abandoned(list(paths.values())) as is_free:
        if not is_free:
            return any(path.exists() for path in paths.values())
        _LOG.info("prediction log: what a server that ended had not rotated is: %s", folder / stem)
        rotate(folder, stem, deletions(log))
        return False


def _read(paths: Mapping[str, Path], kind: str) -> Any:
    try:
        return read_journal(paths[kind], schema(kind))
    except (FileNotFoundError, KeyError):
        return schema(kind).empty_table()
