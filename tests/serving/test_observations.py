"""What a server saw of each version, as JSON and back."""

import json
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from serving.observations import (
    LATENCY_BOUNDS_MS,
    Latencies,
    Moments,
    Observations,
    ShadowObservations,
    VersionObservations,
    parse_observations,
)
from slipway.errors import InputError

counts = st.integers(0, 10**9)
numbers = st.floats(0, 1e9)
latencies = st.builds(
    lambda some: Latencies(counts=(*some, *[0] * (len(LATENCY_BOUNDS_MS) + 1 - len(some)))),
    st.lists(counts, max_size=50),
)
versions = st.builds(
    VersionObservations,
    version=st.integers(1, 2**63 - 1),
    label=st.sampled_from(["", "stable", "canary"]),
    requests=counts,
    errors=counts,
    latency_ms=latencies,
    confidence=st.builds(Moments, counts, numbers, numbers),
    labelled=counts,
    correct=counts,
    shadow=st.builds(ShadowObservations, counts, counts, counts, counts, counts, counts, counts, latency_ms=latencies),
)
observations = st.builds(
    Observations, st.text(max_size=8), st.text(max_size=8), st.lists(versions, max_size=3).map(tuple)
)


@given(observations)
def test_observations_are_read_as_they_were_written(seen):
    assert parse_observations(json.loads(json.dumps(seen.as_dict())), "place") == seen


def test_members_of_a_later_server_are_ignored():
    document = Observations("s", "m", (VersionObservations(1, "stable"),)).as_dict() | {"later": 1}
    assert parse_observations(document, "place").of("stable") == VersionObservations(1, "stable")
    assert parse_observations(document, "place").of("canary") is None


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda document: document.pop("server"), "'server' is missing"),
        (lambda document: document["versions"][0].pop("shadow"), "'shadow' is missing"),
        (lambda document: document["versions"][0].update(requests=-1), "-1 where a count is expected"),
        (lambda document: document["versions"][0].update(requests=True), "True where a count"),
        (lambda document: document["versions"][0]["latency_ms"].update(bounds=[1.0]), "300 counts for 1 bounds"),
        (lambda document: document.update(versions=None), "NoneType"),
        (lambda document: document.update(model=5), "5 where text is expected"),
    ],
)
def test_what_is_missing_or_wrong_is_said_with_its_place(change, said):
    document = json.loads(json.dumps(Observations("s", "m", (VersionObservations(1),)).as_dict()))
    change(document)
    with pytest.raises(InputError, match=f"place: not a server's observations .*{said}"):
        parse_observations(document, "place")


def test_bounds_are_at_most_five_percent_apart():
    assert all(1 < above / below < 1.0501 for below, above in pairwise(LATENCY_BOUNDS_MS))
    assert LATENCY_BOUNDS_MS[0] <= 0.05
    assert LATENCY_BOUNDS_MS[-1] > 100_000


def test_a_quantile_is_the_bound_above_it():
    found = Latencies((1.0, 2.0, 4.0), (1, 18, 0, 1))
    assert found.quantile(0.05) == 1.0
    assert found.quantile(0.5) == 2.0
    assert found.quantile(0.95) == 2.0
    assert found.quantile(1.0) == 4.0
    assert Latencies().quantile(0.5) is None
