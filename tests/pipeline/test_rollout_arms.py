"""What came between two looks, over servers that come, go, restart and reload."""

import json
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.rollout.arms import Arm, arm_from, counters_of, look_between
from serving.observations import Latencies, Moments, Observations, ShadowObservations, VersionObservations
from slipway.errors import InputError

BOTH = (1, 2)


def seen(server, stable=0, canary=0, **more):
    """A server that answered so many requests by version 1 and by version 2; `more` is the canary's."""
    return Observations(
        server,
        "m",
        (
            VersionObservations(1, "stable", requests=stable, latency_ms=latencies(stable)),
            VersionObservations(2, "canary", requests=canary, latency_ms=latencies(canary), **more),
        ),
    )


def latencies(count):
    counts = list(Latencies().counts)
    counts[40] = count
    return Latencies(counts=tuple(counts))


def requests_between(*readings):
    """The requests of (stable, canary) that each look after the first counts."""
    counters, found = {}, []
    for reading in readings:
        look, counters = look_between(counters, counters_of(reading, BOTH), BOTH)
        found.append((look.stable.requests, look.canary.requests))
    assert found[0] == (0, 0)
    return found[1:]


def test_what_was_answered_before_the_first_look_does_not_count():
    assert requests_between([seen("a", 900, 50)], [seen("a", 1000, 60)]) == [(100, 10)]


def test_servers_are_summed():
    assert requests_between([seen("a", 5), seen("b", 7)], [seen("a", 6, 1), seen("b", 9, 1)]) == [(3, 2)]


def test_a_restarted_server_counts_from_when_it_is_seen_again():
    assert requests_between([seen("a", 100, 10)], [seen("a2", 30, 3)], [seen("a2", 50, 5)]) == [(0, 0), (20, 2)]


def test_a_server_that_was_not_reached_catches_up():
    readings = [[seen("a", 0), seen("b", 0)], [seen("a", 10)], [seen("a", 20, 1), seen("b", 40, 2)]]
    assert requests_between(*readings) == [(10, 0), (50, 3)]


def test_a_version_that_was_loaded_anew_counts_from_then():
    assert requests_between([seen("a", 100, 50)], [seen("a", 110, 3)], [seen("a", 120, 9)]) == [(10, 0), (10, 6)]


def test_copies_count_as_answers_but_not_their_latencies():
    copies = ShadowObservations(requests=8, errors=2, compared=6, disagreed=1, latency_ms=latencies(8))
    look, _ = look_between(counters_of([seen("a")], BOTH), counters_of([seen("a", 10, 4, shadow=copies)], BOTH), BOTH)
    assert (look.canary.requests, look.canary.errors, look.canary.compared) == (12, 2, 6)
    assert (look.canary.copies, look.canary.failed_copies) == (8, 2)
    assert sum(look.canary.latencies) == 4


def test_processes_long_gone_are_forgotten():
    counters = {}
    for number in range(100):
        _, counters = look_between(counters, counters_of([seen(f"process {number}", 1)], BOTH), BOTH)
    assert len(counters) < 70
    assert "process 99" in counters


def test_other_latency_bounds_are_refused():
    version = VersionObservations(1, latency_ms=Latencies((1.0, 2.0), (0, 0, 0)))
    with pytest.raises(InputError, match="2 latency bounds of their own; expected"):
        counters_of([Observations("a", "m", (version,))], BOTH)


@given(st.lists(st.integers(0, 10**9), min_size=9, max_size=9), st.floats(0, 1e6))
def test_an_arm_survives_being_written_as_json(numbers, total):
    arm = Arm(*numbers[:6], (1, 0, 7), Moments(numbers[6], total, total / 3), *numbers[7:])
    assert arm_from(json.loads(json.dumps(arm.as_dict()))) == arm


@given(st.integers(0, 99), st.integers(0, 99))
def test_what_came_since_and_what_was_before_make_the_whole(before, more):
    earlier = Arm(before, latencies=(before, 0))
    whole = earlier.plus(Arm(more, latencies=(more, 0)))
    assert whole.since(earlier) == Arm(more, latencies=(more, 0))
    assert replace(earlier, requests=whole.requests + 1).since(whole) is not None
    assert earlier.since(replace(whole, requests=before + 1)) is None
