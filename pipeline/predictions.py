"""The prediction log, as a person asks it: its last rows, what each version answered, and what is to go."""

from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from pipeline.config import Config
from serving.prediction_log.clients import check_key, client_digest, client_key
from serving.prediction_log.deleting import Deleted, delete_client
from serving.prediction_log.reading import Window, read_each, read_last
from serving.prediction_log.retention import Pruned, now_us, prune
from serving.prediction_log.rules import DAY_S
from slipway.errors import InputError, NotFoundError

COLUMNS = ("time", "request_id", "row", "version", "label", "class_id", "confidence", "true_class", "latency_ms")
SUMMARY = (
    "version",
    "label",
    "records",
    "first",
    "last",
    "confidence",
    "latency_ms",
    "labelled",
    "accuracy",
    "images",
    "embeddings",
)
_SUMMED = ("version", "label", "class_id", "confidence", "latency_ms", "brightness", "embedding")
_BY = ["version", "label"]
_OF_FILE = {
    "request_id": ("count",),
    "time": ("min", "max"),
    "confidence": ("sum", "count"),
    "latency_ms": ("sum", "count"),
    "correct": ("sum", "count"),
    "brightness": ("count",),
    "embedding": ("count",),
}
LISTED = 20
WAIT_S = 10.0


def moment(flag: str, text: str | None) -> datetime | None:
    """A time as ISO 8601 has it, in UTC unless it names a zone; InputError for another."""
    if not text:
        return None
    try:
        found = datetime.fromisoformat(text)
    except ValueError:
        raise InputError(
            f"{flag} {text}: expected a day or a time, such as 2026-11-30 or 2026-11-30T14:00. Pass such a time."
        ) from None
    return found if found.tzinfo else found.replace(tzinfo=UTC)


def log_folder(config: Config) -> Path:
    """The folder of the log; InputError if none is named, NotFoundError if it is not there."""
    if not config.prediction_log:
        raise InputError(
            "no prediction log is named; expected the folder that the server logs to. Pass --prediction-log FOLDER, or "
            "set prediction_log in the configuration."
        )
    folder = Path(config.prediction_log)
    if not folder.is_dir():
        raise NotFoundError(
            f"{folder}: no such folder; expected a prediction log. Start `slipway serve --prediction-log {folder}`, or "
            "name the folder of one that runs."
        )
    return folder


def last_rows(config: Config, window: Window, count: int) -> list[dict[str, Any]]:
    """The last so many rows, in order of time, without the long columns."""
    table = read_last(log_folder(config), config.name, window, count, COLUMNS).select(COLUMNS)
    rows: list[dict[str, Any]] = table.to_pylist()
    for row in rows:
        row["time"] = row["time"].isoformat(timespec="milliseconds")
        for name, digits in (("confidence", 4), ("latency_ms", 2)):
            row[name] = None if row[name] is None else round(row[name], digits)
    return rows


def summary(config: Config, window: Window) -> list[dict[str, Any]]:
    """A row for each version and label: how many records, from when to when, and their means.

    images: records whose image was looked at; embeddings: those with an embedding. accuracy: of those labelled.
    """
    import pyarrow as pa

    # File by file: a month of embeddings would not fit into memory.
    of_files = read_each(log_folder(config), config.name, window, _SUMMED, _of_file)
    if not of_files:
        return []
    together = {"min": "min", "max": "max", "sum": "sum", "count": "sum"}
    parts = [(f"{name}_{how}", together[how]) for name, hows in _OF_FILE.items() for how in hows]
    found = pa.concat_tables(of_files).group_by(_BY).aggregate(parts)
    found = found.rename_columns([*_BY, *(name for name, _ in parts)])
    return [_summary_row(row) for row in found.sort_by([(name, "ascending") for name in _BY]).to_pylist()]


def _of_file(table: Any) -> Any:
    """What is known of each version and label by one file, as a table that can be summed up."""
    import pyarrow as pa
    import pyarrow.compute as pc

    table = table.append_column("correct", pc.equal(table["class_id"], table["true_class"]).cast(pa.float64()))
    return table.group_by(_BY).aggregate([(name, how) for name, hows in _OF_FILE.items() for how in hows])


def delete(config: Config, client: str, key_file: str | None, wait_s: float) -> Deleted:
    """Delete that client's records, up to now; InputError if the key of the hashes is none that the log has."""
    log = log_folder(config)
    key = client_key(log, Path(key_file) if key_file else None)
    check_key(log, key)
    return delete_client(log, client_digest(key, client), now_us(), wait_s)


def remove_old(config: Config, max_mb: float | None, keep_days: float | None) -> Pruned:
    """Remove files of rows that are older, or the oldest until the log is smaller."""
    if max_mb is None and keep_days is None:
        raise InputError("nothing says what is to go; expected --max-mb, --days or both. Pass one of them.")
    most_bytes = None if max_mb is None else int(max_mb * 2**20)
    return prune(log_folder(config), most_bytes, None if keep_days is None else keep_days * DAY_S, now_us())


def deleted_text(deleted: Deleted) -> str:
    """What a deletion did, and what is left to the servers."""
    text = (
        f"{deleted.records} records and {deleted.feedback} labels are taken out of {deleted.files} files; who reads "
        "the log finds none of the client's from before"
    )
    if deleted.held:
        text += (
            f"\n{deleted.held} journals of running servers may hold some until they rotate, within ten minutes. "
            "Run this again then."
        )
    return text


def _summary_row(row: dict[str, Any]) -> dict[str, Any]:
    values: Sequence[Any] = (
        row["version"],
        row["label"],
        row["request_id_count"],
        row["time_min"].isoformat(timespec="seconds"),
        row["time_max"].isoformat(timespec="seconds"),
        _mean(row, "confidence", 4),
        _mean(row, "latency_ms", 2),
        row["correct_count"],
        _mean(row, "correct", 4),
        row["brightness_count"],
        row["embedding_count"],
    )
    return dict(zip(SUMMARY, values, strict=True))


def _mean(row: dict[str, Any], name: str, digits: int) -> float | None:
    count = row[f"{name}_count"]
    return round(row[f"{name}_sum"] / count, digits) if count else None
