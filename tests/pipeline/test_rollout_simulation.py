"""The decision alone, over rollouts drawn at random: a short form of what `make soak` does 2,000 times."""

import pytest

from tests.pipeline.rollout_simulation import KINDS, simulate, table

pytestmark = pytest.mark.integration

COUNT = 200
REASON = {"3 points less accurate": "accuracy", "50 % slower": "latency", "errors on 2 %": "errors"}


@pytest.mark.parametrize("kind", KINDS)
def test_of_200_rollouts_of_each_kind_nearly_all_end_as_they_should(kind):
    ended = [simulate(kind, seed) for seed in range(COUNT)]
    print(table({kind: ended}))  # noqa: T201 - shown when it fails
    if kind == "equal":
        assert sum(each.verdict == "promote" for each in ended) >= 0.97 * COUNT
    else:
        found = [each for each in ended if each.verdict == "abort" and each.reason.startswith(REASON[kind])]
        assert len(found) >= 0.95 * COUNT


@pytest.mark.parametrize("requests_a_look", [40, 8_000])
def test_it_makes_no_difference_whether_one_looks_often_or_rarely(requests_a_look):
    few = range(6)
    assert all(simulate("equal", seed, requests_a_look=requests_a_look).verdict == "promote" for seed in few)
    assert all(simulate("errors on 2 %", seed, requests_a_look=requests_a_look).verdict == "abort" for seed in few)
