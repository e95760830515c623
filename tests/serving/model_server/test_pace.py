"""A load gives way to requests; the clock is the work's own."""

import os
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from serving.model_server.pace import Pace, PacedRuntime, at_low_priority, current_pace
from serving.model_server.runtimes import open_runtime
from slipway.files import sha256_file
from tests.serving.model_server.fakes import FakeRuntime
from tests.serving.model_server.heavy_model import write_model


class Clock:
    def __init__(self):
        self.now = 0.0
        self.rests = []

    def read(self):
        return self.now

    def rest(self, seconds):
        self.rests.append(seconds)

    def work(self, seconds):
        self.now += seconds
        return "done"


def test_it_rests_three_times_as_long_as_it_worked_while_there_are_requests():
    clock = Clock()
    assert Pace(lambda: 1, clock.read, clock.rest).run(clock.work, 0.02) == "done"
    assert clock.rests == [0.02 * 3.0]


def test_it_never_rests_longer_than_a_tenth_of_a_second():
    clock = Clock()
    Pace(lambda: 1, clock.read, clock.rest).run(clock.work, 20.0)
    assert clock.rests == [0.1]


def test_it_does_not_rest_when_nobody_asks():
    clock = Clock()
    Pace(lambda: 0, clock.read, clock.rest).run(clock.work, 20.0)
    assert clock.rests == []


def test_it_waits_for_a_queue_to_shrink():
    clock = Clock()
    queue = iter([1000, 1000, 1000, 1])
    Pace(lambda: next(queue), clock.read, clock.rest).run(clock.work, 0.02)
    assert clock.rests == [0.02 * 3.0, 0.01, 0.01]


def test_it_works_on_beside_a_queue_that_never_shrinks():
    clock = Clock()
    Pace(lambda: 1000, clock.read, clock.rest).run(clock.work, 20.0)
    assert clock.rests == [0.1] + 50 * [0.01]


def test_a_paced_runtime_answers_as_the_one_inside():
    clock, inner = Clock(), FakeRuntime(1.0)
    paced = PacedRuntime(inner, Pace(lambda: 1, clock.read, clock.rest))
    assert paced.signatures is inner.signatures
    assert paced.run("serving_default", {"x": 1.0}, ["y"])["y"] == 2.0
    assert len(clock.rests) == 1
    paced.close()
    assert inner.closed


def test_a_file_is_digested_in_pieces_with_rests_between_them(tmp_path):
    clock = Clock()
    (tmp_path / "file").write_bytes(bytes(range(256)) * 2**16)
    assert Pace(lambda: 1, clock.read, clock.rest).sha256_file(tmp_path / "file") == sha256_file(tmp_path / "file")
    assert len(clock.rests) == 9


def test_a_load_s_pace_is_known_to_what_it_calls_and_to_nobody_else():
    pace = Pace(lambda: 1)
    with pace.kept():
        assert current_pace() is pace
        assert ThreadPoolExecutor(1).submit(current_pace).result() is not pace
    assert not current_pace().is_busy()


def priority():
    return os.getpriority(os.PRIO_PROCESS, threading.get_native_id())


@pytest.mark.skipif(sys.platform != "linux", reason="a thread has a priority of its own on Linux alone")
def test_low_priority_is_that_of_a_thread_that_ends():
    before = priority()
    assert at_low_priority(priority) == max(before, 10)
    assert priority() == before


@pytest.mark.skipif(sys.platform != "linux", reason="a thread has a priority of its own on Linux alone")
def test_openvino_compiled_beside_requests_answers_the_same_and_its_threads_have_the_usual_priority(tmp_path):
    write_model(tmp_path / "model", layers=2)
    others = set(threads())  # of other tests in this process
    x = {"x": np.linspace(-1, 1, 32, dtype=np.float32).reshape(2, 16)}
    at_once = open_runtime("openvino")(tmp_path / "model").run("serving_default", x, ["y"])["y"]
    with Pace(lambda: 1).kept():
        runtime = open_runtime("openvino")(tmp_path / "model")
    assert np.array_equal(runtime.run("serving_default", x, ["y"])["y"], at_once)
    own = set(threads()) - others
    assert {os.getpriority(os.PRIO_PROCESS, thread) for thread in own} <= {priority()}


def threads():
    return [int(task.name) for task in Path("/proc/self/task").iterdir()]
