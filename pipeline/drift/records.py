"""The last records of a version, from the prediction log."""

from datetime import datetime, timedelta
from typing import Any

from pipeline.config import Config
from pipeline.predictions import log_folder

_COMPARED = ("class_id", "confidence", "embedding", "brightness", "sharpness", "width", "height")


def last_records(config: Config, version: int, now: datetime) -> Any:
    """A `pyarrow.Table` of the records of all windows, or of as many as there are, in order of time.

    InputError if no log is named, NotFoundError if it is not there.
    """
    from serving.prediction_log.reading import Window, read_last

    folder, rules = log_folder(config), config.drift
    window = Window(now - timedelta(seconds=rules.max_age_s), now, version)
    return read_last(folder, config.name, window, rules.windows * rules.window, _COMPARED)
