"""The last records of a version, from the prediction log."""

from datetime import datetime, timedelta
from typing import Any

from pipeline.config import Config
from pipeline.predictions import log_folder

_FIRST_S = 600.0


def last_records(config: Config, version: int, now: datetime) -> Any:
    """A `pyarrow.Table` of the records of all windows, or of as many as there are, in order of time.

    InputError if no log is named, NotFoundError if it is not there.
    """
    from serving.prediction_log.reading import read_records

    folder, rules = log_folder(config), config.drift
    wanted = rules.windows * rules.window
    reach_s = min(_FIRST_S, rules.max_age_s)
    while True:  # a busy server's log of a week would not fit into memory
        since = now - timedelta(seconds=reach_s)
        records = read_records(folder, config.name, since=since, until=now, version=version)
        if len(records) >= wanted or reach_s >= rules.max_age_s:
            return records.slice(max(0, len(records) - wanted))
        reach_s = min(4 * reach_s, rules.max_age_s)
