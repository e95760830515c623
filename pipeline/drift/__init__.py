"""Drift: whether what the champion is asked, and what it answers, still is as it was on its held-out images."""

from datetime import datetime
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pipeline.config import Config
    from pipeline.drift.report import DriftReport


def check(config: "Config", now: datetime | None = None) -> "DriftReport":
    """See `pipeline.drift.checking.check`; imported when it is called, since the configuration imports this package."""
    from pipeline.drift.checking import check as run

    return run(config, now)
