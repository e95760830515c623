"""Overload: a prediction that would wait too long is refused at once, before its body is read or parsed.

By Little's law a queue's wait is its length over the rate at which requests leave it. That rate is measured as BBR
measures a link's (Cardwell et al., "BBR: Congestion-Based Congestion Control", 2016): only while more is asked than can
be done at once, since at any other time it says what was asked and not what could be done.
"""

import os
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from typing import Any

from serving.model_server.errors import RefusedError
from serving.model_server.waiting import Nobody, Queue, Ticket
from serving.wire.status_pb2 import Code

_ALWAYS = 16  # requests in flight that are taken however slow: a few clients, beside golden requests of a new version
_WELCOME = 48  # requests in flight that are taken all the same, unless they would wait for _LONGEST_WELCOME_S
_LONGEST_WELCOME_S = 10.0
_WINDOW_S, _WINDOW_REQUESTS = 0.1, 8  # a measurement takes both
_LONGEST_WINDOW_S = 2.0  # or this, and one request
_GAIN = 0.5  # weight of the newest measurement
_FORGET_S = 30.0  # a rate that was measured longer ago may be another version's


class Admission:
    """Counts the predictions in flight, over all models and both APIs, and refuses more than are done in time.

    longest_wait_s: how long a request may wait for those before it; 0 refuses nothing. queue: told of those that wait
    for a thread. Every method may be called from
    any thread, and costs a few microseconds.
    """

    def __init__(
        self,
        longest_wait_s: float,
        on_refused: Callable[[], None] = lambda: None,
        clock: Callable[[], float] = time.monotonic,
        queue: Queue = Nobody(),  # noqa: B008  it has no state
    ) -> None:
        self._longest_wait_s = longest_wait_s
        self._queue = queue
        self._on_refused = on_refused
        self._clock = clock
        self._cores = os.cpu_count() or 1
        self._lock = threading.Lock()
        self._in_flight = 0
        self._rate: float | None = None  # requests per second, if known
        self._measured_at = 0.0
        self._window_started = 0.0
        self._window_finished = 0

    @property
    def in_flight(self) -> int:
        """Predictions taken and not finished."""
        return self._in_flight

    @property
    def limit(self) -> int:
        """How many may be in flight."""
        rate = self._rate
        if rate is None:
            return _WELCOME
        least = max(_ALWAYS, 2 * self._cores)
        return max(least, min(_WELCOME, int(rate * _LONGEST_WELCOME_S)), int(rate * self._longest_wait_s))

    def check(self) -> None:
        """RefusedError RESOURCE_EXHAUSTED if one more prediction would wait too long."""
        if self._longest_wait_s and self._in_flight >= self.limit:
            self._on_refused()
            raise RefusedError(
                Code.RESOURCE_EXHAUSTED,
                f"The server is overloaded: {self._in_flight} requests wait to be answered. Send this one again later.",
            )

    def submit(self, threads: ThreadPoolExecutor, work: Callable[..., Any], *arguments: Any) -> "Future[Any]":
        """Run `work` on `threads` as a prediction that was checked; it is in flight until its future is done."""
        with self._lock:
            self._in_flight += 1
            if self._in_flight == self._cores:
                self._begin_backlog()
        ticket = Ticket(self._queue)
        try:
            future = ThreadPoolExecutor.submit(threads, ticket.run, work, *arguments)
        except BaseException:
            self._finish(ticket, None)
            raise
        future.add_done_callback(partial(self._finish, ticket))
        return future

    def _begin_backlog(self) -> None:
        self._window_started, self._window_finished = self._clock(), 0
        if self._window_started - self._measured_at > _FORGET_S:
            self._rate = None

    def _finish(self, ticket: Ticket, _future: "Future[Any] | None") -> None:
        ticket.end()  # of one that was given up before a thread had it
        with self._lock:
            self._in_flight -= 1
            self._window_finished += 1
            if self._in_flight >= self._cores:
                self._measure(self._clock())

    def _measure(self, now: float) -> None:
        elapsed_s = now - self._window_started
        if elapsed_s < (_WINDOW_S if self._window_finished >= _WINDOW_REQUESTS else _LONGEST_WINDOW_S):
            return
        rate = self._window_finished / elapsed_s
        self._rate = rate if self._rate is None else self._rate + _GAIN * (rate - self._rate)
        self._measured_at, self._window_started, self._window_finished = now, now, 0
