from hypothesis import given
from hypothesis import strategies as st

from pipeline.lives import lives
from registry.ledger import LedgerEntry

VERSIONS = st.integers(1, 4)


def entry(action, before, version, *, alias="champion", **more):
    fields = {"actor": "ada", "origin": "command", "reason": "", "id": 1, "time_s": 0.0, **more}
    chain = {"previous_digest": "", "digest": ""}
    return LedgerEntry(
        model="digits", action=action, alias=alias, from_version=before, to_version=version, **fields, **chain
    )


@st.composite
def histories(draw):
    """Entries, and after each of them what is live."""
    entries, live, stages = [], None, []
    for place in range(draw(st.integers(0, 12))):
        action = draw(st.sampled_from(["promote", "rollback", "observed", "refuse", "retire", "rollout", "challenger"]))
        if action == "challenger":
            made = entry("promote", None, draw(VERSIONS), alias="challenger")
        elif action == "rollout":
            made = entry("rollout", live, draw(VERSIONS))
        elif action == "refuse":
            refused, stays = draw(VERSIONS), draw(VERSIONS)
            made = entry("refuse", refused, stays)
            live = stays if refused == live else live
        elif action == "retire":
            made, live = entry("retire", live, None), None
        else:
            made = entry(action, live, draw(VERSIONS))
            live = made.to_version
        entries.append(made)
        stages.append((place + 1, live))
    return entries, stages


@given(histories())
def test_exactly_the_version_that_is_live_has_a_life_without_an_end(history):
    entries, stages = history
    for length, live in stages:
        unended = [
            version for version in range(1, 5) if any(life.until is None for life in lives(entries[:length], version))
        ]
        assert unended == ([] if live is None else [live])


@given(histories(), VERSIONS)
def test_only_the_last_life_can_go_on(history, version):
    assert all(life.until is not None and life.ended for life in lives(history[0], version)[:-1])


def test_a_life_says_who_began_it_and_who_ended_it():
    entries = [
        entry("promote", None, 1, time_s=0.0, reason="first"),
        entry("promote", 1, 2, time_s=60.0, actor="bea"),
        entry("rollback", 2, 1, time_s=120.0, actor="cyd", reason="complaints"),
    ]
    (second,) = lives(entries, 2)
    assert (second.since, second.actor) == ("1970-01-01T00:01:00+00:00", "bea")
    assert (second.until, second.ended) == ("1970-01-01T00:02:00+00:00", "rollback by cyd to version 1: complaints")
    assert [life.action for life in lives(entries, 1)] == ["promote", "rollback"]
    assert lives(entries, 3) == ()
