import threading
import time
from contextlib import contextmanager

import pytest

from pipeline.reconcile.watch import Outcome, watch
from slipway.errors import ConflictError, UnavailableError
from tests.pipeline.lifecycle_world import wait_until

AWAY = "tracking server http://127.0.0.1:9: nothing answers"


class Scripted:
    """A turn whose passes come to what the script says; the last word of it is said for good."""

    def __init__(self, *script, leads=(None,)):
        self.script = list(script) or [Outcome()]
        self.leads = list(leads)
        self.passes = []
        self.led = 0

    @contextmanager
    def lead(self):
        said = self.leads.pop(0) if len(self.leads) > 1 else self.leads[0]
        if said is not None:
            raise said
        self.led += 1
        yield self.check

    def check(self):
        pass

    def one_pass(self):
        self.passes.append(time.monotonic())
        said = self.script.pop(0) if len(self.script) > 1 else self.script[0]
        if isinstance(said, Exception):
            raise said
        return said


class Loop:
    """A watch in a thread."""

    def __init__(self, turn, interval_s):
        self.turn, self.said, self.alive_at = turn, [], []
        self.wake, self.stop = threading.Event(), threading.Event()
        told = (self.said.append, lambda: self.alive_at.append(time.monotonic()))
        self.thread = threading.Thread(target=watch, args=(turn, interval_s, self.wake, self.stop, *told))
        self.thread.start()

    def has_passed(self, count):
        wait_until(lambda: len(self.turn.passes) >= count, lambda: f"{self.turn.passes} {self.said}", 20, 0.01)

    def has_said(self, words):
        wait_until(lambda: any(words in line for line in self.said), lambda: f"{words} not in {self.said}", 20, 0.01)


@pytest.fixture
def loop():
    loops = []

    def start(turn, interval_s):
        loops.append(Loop(turn, interval_s))
        return loops[-1]

    yield start
    for each in loops:
        each.stop.set()
        each.wake.set()  # heard at once
        each.thread.join(10)


def gaps(turn):
    return [later - sooner for sooner, later in zip(turn.passes, turn.passes[1:], strict=False)]


def test_a_pass_is_made_at_once_and_then_each_interval(loop):
    turn = Scripted()
    loop(turn, 0.3).has_passed(4)
    assert all(0.29 < gap < 2 for gap in gaps(turn))


def test_a_wake_does_not_wait_for_the_interval(loop):
    turn = Scripted()
    running = loop(turn, 20)
    running.has_passed(1)
    running.wake.set()
    running.has_passed(2)
    assert gaps(turn)[0] < 10


def test_a_flood_of_wakes_makes_at_most_a_pass_each_tenth_of_the_interval(loop):
    turn = Scripted()
    running = loop(turn, 5)
    for _ in range(1000):
        running.wake.set()
        time.sleep(0.0015)
    assert 3 <= len(turn.passes) <= 10
    assert all(gap > 0.49 for gap in gaps(turn))


def test_a_wake_during_a_pass_makes_another_one(loop):
    class Slow(Scripted):
        def one_pass(self):
            super().one_pass()
            if len(self.passes) == 1:
                running.wake.set()
            return Outcome()

    turn = Slow()
    running = loop(turn, 10)
    running.has_passed(2)
    assert gaps(turn)[0] < 5


def test_stop_is_heard_within_two_seconds_while_waiting_for_the_next_pass(loop):
    running = loop(Scripted(), 600)
    running.has_passed(1)
    begun = time.monotonic()
    running.stop.set()
    running.thread.join(10)
    assert time.monotonic() - begun < 2


def test_stop_is_heard_within_two_seconds_while_another_one_watches(loop):
    running = loop(Scripted(leads=[ConflictError("lease 'watch': ada holds it. Wait for it.")]), 600)
    running.has_said("waiting: lease 'watch': ada holds it")
    begun = time.monotonic()
    running.stop.set()
    running.thread.join(10)
    assert time.monotonic() - begun < 2
    assert running.said == ["waiting: lease 'watch': ada holds it"]
    assert running.turn.passes == []


def test_a_second_watcher_takes_over_when_the_first_is_gone(loop):
    other = ConflictError("lease 'watch': ada holds it.")
    running = loop(Scripted(leads=[other, other, None]), 0.2)
    running.has_passed(2)
    assert running.said[1] == "watching: a pass each 0.2 s"


def test_a_watcher_that_lost_its_lease_makes_no_pass_until_it_leads_again(loop):
    class Losing(Scripted):
        def check(self):
            if self.led == 1 and len(self.passes) == 2:
                raise ConflictError("lease 'watch': its time ran out")

    turn = Losing()
    running = loop(turn, 0.1)
    running.has_passed(4)
    assert turn.led == 2
    watching = "watching: a pass each 0.1 s"
    assert running.said == [watching, "not watching any more: lease 'watch': its time ran out", watching]


def test_a_failure_is_one_line_and_so_is_recovery(loop):
    running = loop(Scripted(*[UnavailableError(f"{AWAY}\n twice")] * 3, Outcome("digits: live")), 0.1)
    running.has_said("digits: live")
    assert running.said[1:] == [f"{AWAY} twice", "recovered after 0 s and 3 failed passes", "digits: live"]


def test_a_mistake_in_the_code_of_a_pass_does_not_end_the_loop(loop):
    running = loop(Scripted(ZeroDivisionError("division by zero"), Outcome()), 0.1)
    running.has_passed(2)
    running.has_said("recovered after 0 s and 1 failed pass")
    assert running.said[1] == "unforeseen ZeroDivisionError: division by zero"


def test_a_registry_that_is_away_at_the_start_is_waited_for(loop):
    running = loop(Scripted(leads=[UnavailableError(AWAY), UnavailableError(AWAY), None]), 0.1)
    running.has_passed(1)
    assert running.said[0] == AWAY
    running.has_said("recovered")


def test_pauses_between_failures_grow_up_to_the_interval(loop):
    turn = Scripted(UnavailableError(AWAY))
    loop(turn, 1.5).has_passed(4)
    first, second, third = gaps(turn)[:3]
    assert 0.99 < first < 1.45
    assert 1.49 < second < 2.5
    assert 1.49 < third < 2.5


def test_nothing_new_is_not_said_again(loop):
    left = Outcome("digits: champion is gone, allow_retire is off")
    running = loop(Scripted(left, left, left, Outcome(), left, Outcome("end")), 0.05)
    running.has_said("end")
    assert running.said[1:] == [left.text, left.text, "end"]


def test_a_model_that_failed_in_a_pass_is_said_once_and_then_that_it_recovered(loop):
    failed = Outcome("digits: base path /srv is away", failed=True)
    running = loop(Scripted(failed, failed, Outcome()), 0.05)
    running.has_said("recovered")
    assert running.said[1:] == [failed.text, "recovered after 0 s and 2 failed passes"]


def test_a_command_at_work_is_no_failure(loop):
    running = loop(Scripted(ConflictError("lease 'reconcile': ada holds it."), Outcome("digits: live")), 5)
    running.has_said("digits: live")
    assert running.said[1:] == ["digits: live"]
    assert gaps(running.turn)[0] < 3


def test_the_loop_says_that_it_turns_at_each_pass_and_while_another_one_watches(loop):
    passing = loop(Scripted(), 0.1)
    waiting = loop(Scripted(leads=(ConflictError("another one watches. Wait."),)), 0.1)
    passing.has_passed(3)
    assert len(passing.alive_at) >= 3
    wait_until(lambda: len(waiting.alive_at) >= 2, lambda: f"{waiting.alive_at}", 20, 0.01)
    assert not waiting.turn.passes


def test_a_pass_that_hangs_is_not_said_to_be_alive(loop):
    turn, gate = Scripted(), threading.Event()
    turn.check = lambda: gate.wait(20)
    hanging = loop(turn, 0.1)
    wait_until(lambda: len(hanging.alive_at) == 2, lambda: f"{hanging.alive_at}", 20, 0.01)
    time.sleep(0.5)
    assert len(hanging.alive_at) == 2
    gate.set()
    hanging.has_passed(1)
