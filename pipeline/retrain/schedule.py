"""Retraining by a clock of our own, where there is no cron: one at a time, and stopped in order."""

import os
import re
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Any

from pipeline.progress import report
from slipway.errors import InputError
from slipway.stopping import stopped_by_signals

_DAYS = ("sun", "mon", "tue", "wed", "thu", "fri", "sat", "sun")
_WEEK = 7
_FIELDS = 5
_LATE_S = 3600  # a time that was missed by no more than this is made up for, once
VARIABLE = "SLIPWAY_RETRAIN_CRONTAB"


def trigger(crontab: str) -> Any:
    """When a crontab's five fields say, in local time. InputError for what is none, and for a time that never comes.

    Numbers of weekdays are cron's, Sunday being 0 and 7; APScheduler's own begin with Monday. A day of the month and a
    weekday together are refused: cron takes either, APScheduler both.
    """
    from apscheduler.triggers.cron import CronTrigger

    fields = crontab.split()
    if len(fields) == _FIELDS and "*" not in (fields[2], fields[4]):
        raise InputError(
            f"--schedule {crontab!r}: names days of the month and weekdays; expected * for one of them. "
            "Run two schedules, or leave one out."
        )
    try:
        if len(fields) == _FIELDS:
            fields[4] = ",".join(_weekdays(part) for part in fields[4].split(","))
        found = CronTrigger.from_crontab(" ".join(fields))
    except ValueError as error:
        raise InputError(
            f"--schedule {crontab!r}: {error}; expected a crontab's five fields: minute, hour, day, month, weekday. "
            'Pass such as --schedule "0 3 * * *".'
        ) from error
    if found.get_next_fire_time(None, datetime.now(found.timezone)) is None:
        raise InputError(
            f"--schedule {crontab!r}: names a time that never comes; expected one that does. Mend its day or its month."
        )
    return found


def _weekdays(part: str) -> str:
    """One part of cron's field of weekdays, such as 1-5, 5-7, */2 or fri, as the names of the days. ValueError."""
    days, slash, step = part.partition("/")
    if days == "*" and not slash:
        return part
    first, dash, last = ("0", "-", "6") if days == "*" else days.partition("-")
    begin = _weekday(first)
    end = _weekday(last) if dash else (_WEEK - 1 if slash else begin)
    if end < begin:
        end += _WEEK
    return ",".join(dict.fromkeys(_DAYS[day % _WEEK] for day in range(begin, end + 1, int(step) if slash else 1)))


def _weekday(name: str) -> int:
    if name.lower() in _DAYS:
        return _DAYS.index(name.lower())
    if not re.fullmatch("[0-7]", name):
        raise ValueError(f"{name!r} is no weekday")
    return int(name)


def keep_retraining(crontab: str, words: Sequence[str]) -> None:
    """Run `python -m pipeline WORDS` whenever the crontab says, until SIGTERM or Ctrl-C; one that runs is ended first.

    A time that comes while one runs is passed over. Each is a process of its own: what TensorFlow takes is given back,
    and no crash ends the schedule.
    """
    from apscheduler.schedulers.background import BackgroundScheduler

    when = trigger(crontab)
    stop, running = threading.Event(), _Running(words)
    scheduler = BackgroundScheduler()
    scheduler.add_job(running.once, when, coalesce=True, max_instances=1, misfire_grace_time=_LATE_S)
    with stopped_by_signals(stop):
        scheduler.start()
        report(f"next retraining at {scheduler.get_jobs()[0].next_run_time:%Y-%m-%d %H:%M:%S %Z}")
        stop.wait()
        report("stopping")
        running.end()
        scheduler.shutdown(wait=True)


class _Running:
    """The retraining of the moment, if there is one."""

    def __init__(self, words: Sequence[str], say: Callable[[str], None] = report) -> None:
        self._command = [sys.executable, "-m", "pipeline", *words]
        self._environment = {key: value for key, value in os.environ.items() if key != VARIABLE}
        self._say = say
        self._lock = threading.Lock()
        self._process: subprocess.Popen[bytes] | None = None
        self._ended = False

    def once(self) -> None:
        """Start one and wait for it."""
        with self._lock:
            if self._ended:
                return
            # A group of its own: Ctrl-C reaches us alone, and we end it.
            process = subprocess.Popen(self._command, env=self._environment, process_group=0)
            self._process = process
        code = process.wait()
        self._say(f"retrain ended with exit code {code}")

    def end(self) -> None:
        """Stop the one that runs, so that the next one goes on with it; no other is started any more."""
        with self._lock:
            self._ended = True
            process = self._process
        while process is not None and process.poll() is None:
            process.send_signal(signal.SIGTERM)  # again and again: one that falls into an import's destructors is lost
            try:
                process.wait(5)
            except subprocess.TimeoutExpired:
                continue
