"""How a loop hears SIGTERM and Ctrl-C, wherever its thread stands at that moment."""

import _thread
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

_SIGNALS = (signal.SIGTERM, signal.SIGINT)


@contextmanager
def stopped_by_signals(stop: threading.Event, *, interrupt: bool = False) -> Iterator[None]:
    """Have SIGTERM and SIGINT set `stop` for the length of the block. Main thread only.

    interrupt: raise KeyboardInterrupt as well, so that a wait or a slow step ends at once. What is raised inside a
    destructor or a callback of the garbage collector is lost, which is why `stop` is set too.
    """

    def heard(_number: int, _frame: FrameType | None) -> None:
        # By a thread: this one may hold the event's lock. By a bare one: it may hold those of `threading`, too.
        _thread.start_new_thread(stop.set, ())
        if interrupt:
            raise KeyboardInterrupt

    before = {number: signal.signal(number, heard) for number in _SIGNALS}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
