"""A crontab's five fields, as cron reads them."""

from datetime import UTC, datetime, timedelta

import pytest

from pipeline.commands.retraining import retrain
from pipeline.retrain import schedule
from pipeline.retrain.schedule import trigger
from slipway.errors import InputError
from tests.registry.conftest import template_store, world  # noqa: F401 - fixtures

THURSDAY = datetime(2026, 11, 26, 12, 0, tzinfo=UTC)


def next_time(crontab):
    return trigger(crontab).get_next_fire_time(None, THURSDAY)


def test_every_night_at_three():
    found = next_time("0 3 * * *")
    assert (found.hour, found.minute) == (3, 0)


@pytest.mark.parametrize("days", ["0", "7", "sun"])
def test_numbers_of_days_begin_with_sunday_as_crons_do(days):
    assert next_time(f"30 4 * * {days}").strftime("%a") == "Sun"


@pytest.mark.parametrize(
    ("field", "days"),
    [
        ("*", "Sun Mon Tue Wed Thu Fri Sat"),
        ("1-5", "Mon Tue Wed Thu Fri"),
        ("0-5", "Sun Mon Tue Wed Thu Fri"),
        ("0-6", "Sun Mon Tue Wed Thu Fri Sat"),
        ("0-7", "Sun Mon Tue Wed Thu Fri Sat"),
        ("5-7", "Sun Fri Sat"),
        ("fri-mon", "Sun Mon Fri Sat"),
        ("*/2", "Sun Tue Thu Sat"),
        ("1-5/2", "Mon Wed Fri"),
        ("3/2", "Wed Fri"),
        ("sun,3,5-6", "Sun Wed Fri Sat"),
    ],
)
def test_weekdays_are_those_that_cron_would_take(field, days):
    when, at = trigger(f"0 3 * * {field}"), THURSDAY
    found = []
    for _ in range(len(days.split())):
        at = when.get_next_fire_time(at, at)
        found.append(at.strftime("%a"))
        at += timedelta(minutes=1)
    assert set(found) == set(days.split())


def test_a_day_of_the_month_and_a_weekday_together_are_refused():
    with pytest.raises(InputError, match="names days of the month and weekdays"):
        trigger("0 3 1 * 1")
    assert next_time("0 3 1 * *").day == 1


@pytest.mark.parametrize(
    "crontab", ["", "0 3 * *", "0 25 * * *", "at night", "0 3 * * 9", "0 3 * * 1-", "0 3 * * */0", "0 3 * * 1/x"]
)
def test_what_is_no_crontab_is_wrong_usage(crontab):
    with pytest.raises(InputError, match="expected a crontab's five fields"):
        trigger(crontab)


def test_a_time_that_never_comes_is_wrong_usage():
    with pytest.raises(InputError, match=r"'0 0 30 2 \*': names a time that never comes; .* Mend its day or its month"):
        trigger("0 0 30 2 *")


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        (("--max-minutes", "-5"), "expected 0 or more"),
        (("--config", "gone.yaml"), "configuration gone.yaml"),
        (("--to", "nowhere"), "expected champion or canary"),
    ],
)
def test_what_is_wrong_with_the_options_is_said_at_once_and_not_at_three_in_the_morning(
    world,  # noqa: F811
    monkeypatch,
    wrong,
    said,
):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", world.uri)
    monkeypatch.chdir(world.folder)
    kept = []
    monkeypatch.setattr(schedule, "keep_retraining", lambda *words: kept.append(words))
    with pytest.raises(InputError, match=said):
        retrain.main(["--schedule", "0 3 * * *", *wrong], standalone_mode=False)
    assert not kept
    retrain.main(["--schedule", "0 3 * * *"], standalone_mode=False)
    assert kept == [("0 3 * * *", ["retrain"])]
