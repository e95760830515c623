"""The loop: a pass each interval, or when woken, by one watcher at a time, whatever fails meanwhile."""

import threading
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Protocol

from slipway.errors import ConflictError, SlipwayError

Say = Callable[[str], None]

_REMIND_S = 300.0  # a failure that goes on is said again after this
_FIRST_PAUSE_S = 1.0  # after a failed pass; twice as long after each further one, up to the interval
_HEARD_S = 1.0  # how late `stop` is heard, and a lease that became free is found, at the latest


@dataclass(frozen=True)
class Outcome:
    """What a pass came to. text: what happened, or is left to do; "" for nothing. failed: it is tried again sooner."""

    text: str = ""
    failed: bool = False


class Turn(Protocol):
    """What the loop does when it is its turn."""

    def lead(self) -> AbstractContextManager[Callable[[], None]]:
        """Be the one watcher for the length of the block; yields a check that raises ConflictError once we are not.

        ConflictError when another one is; any other SlipwayError when that cannot be found out now.
        """
        ...

    def one_pass(self) -> Outcome:
        """Close the difference between what is wanted and what is; SlipwayError when something is away."""
        ...


def watch(
    turn: Turn,
    interval_s: float,
    wake: threading.Event,
    stop: threading.Event,
    say: Say,
    alive: Callable[[], None] = lambda: None,
) -> None:
    """Make passes until `stop` is set, which is heard within a second between two passes.

    A pass begins each `interval_s`, or when `wake` is set: many wakes make one, a tenth of the interval after the last
    at the soonest. While another process watches, this one waits, and takes over when it is gone. No failure ends the
    loop: each is one line, said again when it changes or has lasted five minutes more; so is recovery.

    alive: called before each pass, and each second or so while another process watches or nothing can be reached.
    """
    news = _News(say)
    waiting = False
    while not stop.is_set():
        leading = False
        try:
            alive()
            with turn.lead() as check:
                leading, waiting = True, False
                say(f"watching: a pass each {interval_s:g} s")
                _passes(turn, _with(alive, check), _Rhythm(interval_s, wake, stop), news)
        except ConflictError as other:
            if not waiting:
                say(f"{'not watching any more' if leading else 'waiting'}: {_one_line(other).partition('. ')[0]}")
            waiting = not leading
            stop.wait(_HEARD_S)
        except Exception as error:  # noqa: BLE001 - whatever it is, the next pass may do better
            news.failed(_described(error))
            stop.wait(news.pause_s(interval_s))


def _with(alive: Callable[[], None], check: Callable[[], None]) -> Callable[[], None]:
    def both() -> None:
        alive()
        check()

    return both


@dataclass(frozen=True)
class _Rhythm:
    interval_s: float
    wake: threading.Event
    stop: threading.Event

    def rest(self, begun: float, due: float) -> None:
        """Wait until `due`, or a wake that is not too soon after the pass that was `begun`, or `stop`."""
        earliest = begun + self.interval_s / 10
        while not self.stop.is_set() and (now := time.monotonic()) < due:
            if not self.wake.is_set():
                self.wake.wait(min(due - now, _HEARD_S))
            elif now < earliest:
                self.stop.wait(min(earliest - now, _HEARD_S))
            else:
                return


def _passes(turn: Turn, check: Callable[[], None], rhythm: _Rhythm, news: "_News") -> None:
    """Passes until stopped; ConflictError when another one watches."""
    while not rhythm.stop.is_set():
        begun = time.monotonic()
        rhythm.wake.clear()  # before the pass: what wakes us during it may have come too late for it
        try:
            check()
            outcome = turn.one_pass()
        except ConflictError:
            check()  # raises when we no longer lead; else a command was at work, and is done the next time
            rhythm.rest(begun, begun + min(_FIRST_PAUSE_S, rhythm.interval_s))
            continue
        except Exception as error:  # noqa: BLE001 - a loop that ends is worse than any error of one pass
            news.failed(_described(error))
        else:
            news.passed(outcome)
        pause_s = news.pause_s(rhythm.interval_s)
        rhythm.rest(begun, time.monotonic() + pause_s if news.failing else begun + pause_s)


class _News:
    """Says what is new, and keeps quiet about what was said."""

    def __init__(self, say: Say) -> None:
        self._say = say
        self._said = ""
        self._said_at = 0.0
        self._failures = 0
        self._failing_since = 0.0

    def failed(self, text: str) -> None:
        """A pass failed."""
        now = time.monotonic()
        if self._failures == 0:
            self._failing_since = now
        self._failures += 1
        if text != self._said or now - self._said_at >= _REMIND_S:
            self._say(text)
            self._said, self._said_at = text, now

    @property
    def failing(self) -> bool:
        """Whether the last pass failed."""
        return self._failures > 0

    def passed(self, outcome: Outcome) -> None:
        """A pass ended by itself."""
        if outcome.failed:
            self.failed(outcome.text)
            return
        if self._failures:
            took_s = time.monotonic() - self._failing_since
            self._say(f"recovered after {took_s:.0f} s and {self._failures} failed {_plural(self._failures)}")
        self._failures = 0
        if outcome.text and outcome.text != self._said:
            self._say(outcome.text)
        self._said = outcome.text

    def pause_s(self, interval_s: float) -> float:
        """How long to wait for the next pass."""
        if self._failures == 0:
            return interval_s
        doublings = min(self._failures - 1, 30)
        return float(min(_FIRST_PAUSE_S * 2**doublings, interval_s))


def _plural(passes: int) -> str:
    return "pass" if passes == 1 else "passes"


def _described(error: Exception) -> str:
    foreseen = isinstance(error, SlipwayError)
    return _one_line(error) if foreseen else f"unforeseen {type(error).__name__}: {_one_line(error)}"


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())
