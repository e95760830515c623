"""Labels without a record: those of a deleted client's requests go with them, wherever either of the two lies."""

import logging
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from serving.prediction_log.deletions import without
from serving.prediction_log.journal import read_journal
from serving.prediction_log.parquet import read_parquet
from serving.prediction_log.places import journals, rotated
from serving.prediction_log.schema import RECORDS, schema
from slipway.errors import IntegrityError, UnavailableError

_TRIES = 20  # each time that a file was rotated or removed while it was to be read
_READ = ["time", "request_id", "client"]
_LOG = logging.getLogger(__name__)


def with_records(feedback: Any, folder: Path, gone: Mapping[str, int]) -> Any:
    """The rows of a table of feedback whose request has a record in the model's folder that was not deleted.

    A label is written after its record, so one without is of a deleted client, or of what was never logged, has gone
    with its age, or lies in a damaged file, where nobody finds it. UnavailableError where files come and go faster than
    they can be read.
    """
    for _ in range(_TRIES):
        try:
            kept = _kept(feedback, folder, gone)
        except FileNotFoundError:
            continue
        return feedback.filter(kept)
    raise UnavailableError(f"{folder}: files are rotated faster than they can be read. Run it again.")


def _kept(feedback: Any, folder: Path, gone: Mapping[str, int]) -> Any:
    """Which rows stay, as an array of bool: file by file, since a log of a month would not fit into memory."""
    import pyarrow.compute as pc

    unseen = pc.unique(feedback["request_id"])
    for records in _records(folder):
        if not len(unseen):
            break
        seen = without(records, gone)["request_id"].combine_chunks()
        unseen = unseen.filter(pc.invert(pc.is_in(unseen, seen)))
    return pc.invert(pc.is_in(feedback["request_id"], unseen))


def _records(folder: Path) -> Iterator[Any]:
    # The journals first: what is rotated between the two is then in both rather than in none.
    live = [paths[RECORDS] for paths in journals(folder).values() if RECORDS in paths]
    files = rotated(folder, RECORDS)
    for path in live:
        yield read_journal(path, schema(RECORDS)).select(_READ)
    for file in files:
        try:
            records = read_parquet(file.path, _READ)
        except IntegrityError as error:
            # Else one such file would keep every journal with feedback from being rotated.
            _LOG.warning("prediction log: %s", error)
            continue
        yield records
