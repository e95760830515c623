"""The last records of a version, from the prediction log."""

from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from pipeline.drift.config import DriftConfig
from slipway.errors import InputError

_FIRST_S = 600.0


def last_records(config: DriftConfig, model: str, version: int, now: datetime) -> Any:
    """A `pyarrow.Table` of the records of all windows, or of as many as there are, in order of time.

    InputError if there is no log.
    """
    if not Path(config.log).is_dir():
        raise InputError(
            f"drift.log is {config.log}, which is no folder; expected the prediction log of a model server. "
            "Serve with one, or pass its folder with --log."
        )
    wanted = config.windows * config.window
    reach_s = min(_FIRST_S, config.max_age_s)
    while True:  # a busy server's log of a week would not fit into memory
        records = _read(Path(config.log), model, version, now - timedelta(seconds=reach_s), now)
        if len(records) >= wanted or reach_s >= config.max_age_s:
            return records.slice(max(0, len(records) - wanted))
        reach_s = min(4 * reach_s, config.max_age_s)


def _read(log: Path, model: str, version: int, since: datetime, until: datetime) -> Any:
    from serving.prediction_log.reading import read_records

    return read_records(log, model, since=since, until=until, version=version)
