"""A crontab's five fields, as cron reads them."""

from datetime import UTC, datetime

import pytest

from pipeline.retrain.schedule import trigger
from slipway.errors import InputError

THURSDAY = datetime(2026, 11, 26, 12, 0, tzinfo=UTC)


def next_time(crontab):
    return trigger(crontab).get_next_fire_time(None, THURSDAY)


def test_every_night_at_three():
    found = next_time("0 3 * * *")
    assert (found.hour, found.minute) == (3, 0)


@pytest.mark.parametrize("days", ["0", "7", "sun"])
def test_numbers_of_days_begin_with_sunday_as_crons_do(days):
    assert next_time(f"30 4 * * {days}").strftime("%a") == "Sun"


def test_ranges_of_days():
    assert next_time("0 3 * * 1-5").strftime("%a") == "Fri"


@pytest.mark.parametrize("crontab", ["", "0 3 * *", "0 25 * * *", "at night", "0 3 * * 9"])
def test_what_is_no_crontab_is_wrong_usage(crontab):
    with pytest.raises(InputError, match="expected a crontab's five fields"):
        trigger(crontab)
