"""Loops that are told to end by a signal, as processes."""

import signal
import subprocess
import sys
import threading

import pytest

from slipway.stopping import stopped_by_signals

SIGNALS = [signal.SIGTERM, signal.SIGINT]

_IN_DESTRUCTORS = """
import contextlib, threading, time
from slipway.stopping import stopped_by_signals

class Slow:
    def __del__(self):
        time.sleep(0.2)

stop = threading.Event()
with contextlib.suppress(KeyboardInterrupt), stopped_by_signals(stop, interrupt=True):
    print("ready", flush=True)
    while not stop.is_set():
        Slow()
print("ended")
"""

_WAITING = """
import contextlib, threading
from slipway.stopping import stopped_by_signals

stop = threading.Event()
with contextlib.suppress(KeyboardInterrupt), stopped_by_signals(stop, interrupt={interrupt}):
    print("ready", flush=True)
    {wait}
print("ended")
"""


def ended_by(number, code):
    """What the program says after a signal that comes once it is ready."""
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout.readline() == "ready\n"
            process.send_signal(number)
            said, _ = process.communicate(timeout=20)
        finally:
            process.kill()
    return said, process.returncode


@pytest.mark.parametrize("number", SIGNALS)
def test_an_interrupt_that_is_lost_in_a_destructor_ends_the_loop_all_the_same(number):
    assert ended_by(number, _IN_DESTRUCTORS) == ("ended\n", 0)


@pytest.mark.parametrize("number", SIGNALS)
@pytest.mark.parametrize(
    ("interrupt", "wait"), [(False, "stop.wait()"), (True, "stop.wait()"), (True, "threading.Event().wait()")]
)
def test_a_wait_ends_at_once(number, interrupt, wait):
    assert ended_by(number, _WAITING.format(interrupt=interrupt, wait=wait)) == ("ended\n", 0)


def test_the_handlers_from_before_are_put_back():
    before = signal.getsignal(signal.SIGTERM), signal.getsignal(signal.SIGINT)
    with stopped_by_signals(threading.Event()):
        assert signal.getsignal(signal.SIGTERM) != before[0]
    assert (signal.getsignal(signal.SIGTERM), signal.getsignal(signal.SIGINT)) == before
