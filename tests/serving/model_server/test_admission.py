"""What is let in and what is refused; the clock is the work's own."""

import os
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress

import pytest

from serving.model_server.admission import Admission
from serving.model_server.errors import ServingError
from serving.wire.status_pb2 import Code


class Server:
    """One thread whose requests take as long as they say, on a clock that only they move."""

    def __init__(self, longest_wait_s=0.5):
        self.now = 0.0
        self.refused = 0
        self.admission = Admission(longest_wait_s, self._count, lambda: self.now)
        self.threads = ThreadPoolExecutor(1)

    def _count(self):
        self.refused += 1

    def work(self, seconds):
        self.now += seconds

    def answer(self, requests, seconds):
        """Submit so many at once and wait until they are answered."""
        gate = threading.Event()
        held = self.admission.submit(self.threads, gate.wait)
        futures = [self.admission.submit(self.threads, self.work, seconds) for _ in range(requests)]
        gate.set()
        for future in [held, *futures]:
            future.result()

    def admitted(self, most=100_000):
        """How many clients that come at once are let in, each before the next."""
        gate = threading.Event()
        futures = []
        with suppress(ServingError):
            while len(futures) < most:
                self.admission.check()
                futures.append(self.admission.submit(self.threads, gate.wait))
        gate.set()
        for future in futures:
            future.result()
        return len(futures)


@pytest.fixture
def server():
    server = Server()
    yield server
    server.threads.shutdown()


def test_48_requests_at_once_are_welcome_before_anything_is_known(server):
    assert server.admitted() == 48
    assert server.refused == 1


def test_a_refusal_is_resource_exhausted_and_429(server):
    gate = threading.Event()
    for _ in range(48):
        server.admission.submit(server.threads, gate.wait)
    with pytest.raises(ServingError, match="overloaded: 48 requests") as refusal:
        server.admission.check()
    gate.set()
    assert (refusal.value.code, refusal.value.http_status) == (Code.RESOURCE_EXHAUSTED, 429)


def test_all_is_free_again_once_the_requests_are_answered(server):
    server.admitted()
    assert server.admission.in_flight == 0
    assert server.admitted() == 48


def test_a_fast_server_takes_what_it_answers_within_the_wait(server):
    server.answer(1000, 0.001)
    assert 450 <= server.admission.limit <= 550


def test_a_server_of_ten_requests_a_second_takes_32_clients(server):
    server.answer(64, 0.1)
    assert server.admission.limit == 48


def test_a_slow_model_lets_nobody_wait_longer_than_ten_seconds(server):
    server.answer(40, 0.4)
    assert server.admission.limit == 25


def test_the_slowest_model_still_takes_a_few_clients_and_golden_requests(server):
    server.answer(8, 60.0)
    assert server.admission.limit == max(16, 2 * os.cpu_count())


def test_a_server_that_becomes_slower_takes_less_within_a_second(server):
    server.answer(1000, 0.001)
    before = server.now
    while server.admission.limit > 64:
        server.answer(16, 0.01)
    assert server.now - before < 1.0


def test_few_requests_say_nothing_about_what_the_server_could_do(server):
    for _ in range(20):
        server.now += 10.0
        server.answer(0, 0)
    assert server.admission.limit == 48


def test_what_was_measured_long_ago_is_forgotten(server):
    server.answer(40, 1.0)
    server.now += 31.0
    assert server.admitted() == 48


def test_no_limit_refuses_nothing():
    server = Server(longest_wait_s=0)
    server.answer(40, 1.0)
    assert server.admitted(1000) == 1000
    server.threads.shutdown()


def test_work_that_fails_or_is_cancelled_is_no_longer_in_flight(server):
    gate = threading.Event()
    held = server.admission.submit(server.threads, gate.wait)
    failing = server.admission.submit(server.threads, int, "no number")
    waiting = server.admission.submit(server.threads, int)
    assert waiting.cancel()
    gate.set()
    held.result()
    with pytest.raises(ValueError, match="no number"):
        failing.result()
    assert server.admission.in_flight == 0
