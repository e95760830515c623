"""Deleted clients' rows leave the rotated files, and a deletion is forgotten when nothing holds such a row any more."""

from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from serving.prediction_log.deletions import deletions, exclusively, latest, old_deletions, without
from serving.prediction_log.journal import read_journal
from serving.prediction_log.labels import with_records
from serving.prediction_log.parquet import file_errors, read_parquet, replace_parquet
from serving.prediction_log.places import Rotated, journals, model_folders, rotated
from serving.prediction_log.schema import FEEDBACK, RECORDS, schema
from slipway.errors import SlipwayError


class Rewritten(NamedTuple):
    """rows: that are on the disk no more. files: that had some. failed: why others could not be read, or replaced."""

    rows: int
    files: int
    failed: tuple[SlipwayError, ...]


def rewrite_records(log: Path, gone: Mapping[str, int]) -> Rewritten:
    """Take the records of deleted clients out of all rotated files; to be called by who has the log exclusively."""
    last_us = max(gone.values(), default=-1)
    files = [file for folder in model_folders(log) for file in rotated(folder, RECORDS) if file.first_us <= last_us]
    return _rewritten(files, lambda file: _without_clients(file.path, gone))


def rewrite_feedback(log: Path, gone: Mapping[str, int]) -> Rewritten:
    """Take the labels without a record out of all rotated files; to be called by who has the log exclusively."""
    files = [file for folder in model_folders(log) for file in rotated(folder, FEEDBACK)]
    return _rewritten(files, lambda file: _without_records(file.path, gone))


def forget_old(log: Path, now_us: int) -> tuple[SlipwayError, ...]:
    """Forget the deletions of long ago that nothing is left of; why files could not be looked at, which leaves all."""
    old = old_deletions(log, now_us)
    if not old:
        return ()
    try:
        with exclusively(log, wait=False):
            # The journals first: what is rotated between the two is then in both rather than in none.
            if _journalled(log, latest(old)):
                return ()
            gone = deletions(log)
            for rewrite in (rewrite_records, rewrite_feedback):
                if failed := rewrite(log, gone).failed:
                    return failed
            for deletion in old:
                deletion.path.unlink(missing_ok=True)
    except BlockingIOError:  # somebody deletes: the next time is early enough
        return ()
    except SlipwayError as error:
        return (error,)
    return ()


def _rewritten(files: Iterable[Rotated], rewrite: Callable[[Rotated], int]) -> Rewritten:
    total, failed = Rewritten(0, 0, ()), []
    for file in files:
        try:
            with file_errors(file.path):
                rows = rewrite(file)
        except FileNotFoundError:  # a server has removed what is old
            continue
        except SlipwayError as error:
            failed.append(error)
            continue
        total = Rewritten(total.rows + rows, total.files + bool(rows), ())
    return total._replace(failed=tuple(failed))


def _without_clients(path: Path, gone: Mapping[str, int]) -> int:
    looked_at = read_parquet(path, ("time", "client"))
    if len(without(looked_at, gone)) == len(looked_at):
        return 0
    table = read_parquet(path)
    return _replaced(path, table, without(table, gone))


def _without_records(path: Path, gone: Mapping[str, int]) -> int:
    table = read_parquet(path)
    return _replaced(path, table, with_records(table, path.parent, gone))


def _replaced(path: Path, table: Any, left: Any) -> int:
    """How many rows a file has no more; it is replaced as a whole, or removed if none are left."""
    if len(left) == len(table):
        return 0
    path.unlink() if not len(left) else replace_parquet(path, left)
    return len(table) - len(left)


def _journalled(log: Path, gone: Mapping[str, int]) -> bool:
    """Whether a journal still holds rows of a deleted client."""
    paths = [paths[RECORDS] for folder in model_folders(log) for paths in journals(folder).values() if RECORDS in paths]
    return any(_holds(path, gone) for path in paths)


def _holds(path: Path, gone: Mapping[str, int]) -> bool:
    try:
        with file_errors(path):
            table = read_journal(path, schema(RECORDS))
    except FileNotFoundError:  # rotated meanwhile
        return False
    return len(without(table, gone)) < len(table)
