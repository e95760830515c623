"""The time from when a prediction was taken to when a thread begins with it."""

import threading
import time
from collections.abc import Callable
from typing import NamedTuple, Protocol


class Queue(Protocol):
    """What is told of predictions that wait."""

    def queued(self) -> None:
        """One waits from now on."""

    def begun(self, waited_s: float) -> None:
        """One waits no more: a thread has it, or nobody wants its answer."""


class Nobody:
    """A queue that nobody looks at."""

    def queued(self) -> None:
        """See Queue."""

    def begun(self, waited_s: float) -> None:
        """See Queue."""


class Wait(NamedTuple):
    """Two moments of time.perf_counter(): when it was taken, and when a thread began."""

    since_s: float
    until_s: float


class Ticket:
    """One prediction's place in a queue, from when it is made until `end`."""

    __slots__ = ("_ended", "_queue", "_since_s")

    def __init__(self, queue: Queue) -> None:
        self._queue = queue
        self._ended = False
        self._since_s = time.perf_counter()
        queue.queued()

    def end(self) -> Wait:
        """Wait no more; a second call counts nothing."""
        until_s = time.perf_counter()
        if not self._ended:
            self._ended = True
            self._queue.begun(until_s - self._since_s)
        return Wait(self._since_s, until_s)

    def run(self, work: Callable[..., object], *arguments: object) -> object:
        """What `work` returns, begun now; it may ask for its `current_wait`."""
        _HERE.wait = self.end()
        return work(*arguments)


class _Here(threading.local):
    wait: Wait | None = None


_HERE = _Here()


def current_wait() -> Wait | None:
    """How long what this thread is at work on had waited for it; None for what was not queued."""
    return _HERE.wait
