import pytest
from hypothesis import given
from hypothesis import strategies as st

from registry.client import RegisteredModel
from registry.intent import Seen, decide, last_finished_s, load_seen, save_seen
from registry.ledger import Ledger

VERSIONS = st.one_of(st.none(), st.integers(1, 4))
SEEN = st.builds(Seen, VERSIONS, VERSIONS, VERSIONS, VERSIONS, VERSIONS)


def model(champion=None, production=None, challenger=None, staging=None):
    aliases = {"champion": champion, "challenger": challenger}
    stages = {"Production": production, "Staging": staging}
    return RegisteredModel("digits", _set(aliases), _set(stages), {"slipway.serving": "true"})


def _set(names):
    return {name: version for name, version in names.items() if version is not None}


def as_seen(of, refused=None):
    aliases, stages = of.aliases.get, of.stages.get
    return Seen(aliases("champion"), aliases("challenger"), stages("Production"), stages("Staging"), refused)


MODELS = st.builds(model, VERSIONS, VERSIONS, VERSIONS, VERSIONS)
LIVE_1 = as_seen(model(champion=1, production=1))


@pytest.mark.parametrize(
    ("now", "champion", "moved"),
    [
        (model(champion=2, production=2), 2, True),  # what the killed pass has left to do
        (model(champion=1, production=2), 1, True),  # clicked back since: where it was seen is no matter
        (model(champion=2, production=1), 1, True),
        (model(champion=3, production=2), 3, True),
        (model(production=2), None, True),
    ],
)
def test_what_moved_after_a_version_was_recorded_as_live_is_meant(now, champion, moved):
    intent = decide(now, LIVE_1, recorded=2)
    assert (intent.champion, intent.champion_moved) == (champion, moved)


@pytest.mark.parametrize(
    ("now", "seen", "champion", "moved", "signal"),
    [
        (model(), None, None, False, "none"),
        (model(champion=1), None, 1, True, "alias"),
        (model(production=1), None, 1, True, "stage"),
        (model(champion=1, production=2), None, 1, True, "alias"),
        (model(champion=1, production=1), LIVE_1, 1, False, "none"),
        (model(champion=2, production=1), LIVE_1, 2, True, "alias"),
        (model(champion=1, production=2), LIVE_1, 2, True, "stage"),
        (model(champion=2, production=2), LIVE_1, 2, True, "alias"),
        (model(champion=2, production=3), LIVE_1, 2, True, "alias"),
        (model(champion=None, production=1), LIVE_1, None, True, "alias"),
        (model(champion=1, production=None), LIVE_1, None, True, "stage"),
        (model(champion=None, production=None), LIVE_1, None, True, "alias"),
        (model(champion=None, production=2), LIVE_1, 2, True, "stage"),
        (model(champion=2, production=None), LIVE_1, 2, True, "alias"),
        (model(production=1), as_seen(model(production=1)), 1, False, "none"),
    ],
)
def test_what_changed_since_the_last_pass_is_meant(now, seen, champion, moved, signal):
    intent = decide(now, seen)
    assert (intent.champion, intent.champion_moved, intent.signal) == (champion, moved, signal)
    assert intent.challenger is None


def test_when_both_changed_and_disagree_the_alias_wins_and_the_notes_say_so():
    assert decide(model(champion=2, production=3), LIVE_1).notes == (
        "alias champion names version 2 and stage Production version 3, and both are new: the alias counts",
    )


def test_what_was_taken_away_is_noted():
    assert decide(model(production=1), LIVE_1).notes == ("alias champion was deleted",)
    assert decide(model(champion=1), LIVE_1).notes == ("no version is in stage Production any more",)


def test_the_challenger_follows_the_same_rule():
    seen = as_seen(model(1, 1, challenger=2, staging=2))
    assert decide(model(1, 1, challenger=2, staging=3), seen).challenger == 3
    assert decide(model(1, 1, challenger=4, staging=3), seen).challenger == 4
    assert decide(model(1, 1, challenger=2, staging=3), seen).signal == "stage"


def test_a_challenger_that_becomes_champion_is_a_candidate_no_longer():
    intent = decide(model(champion=2, production=1, challenger=2, staging=2), as_seen(model(1, 1, 2, 2)))
    assert (intent.champion, intent.challenger) == (2, None)


@given(MODELS)
def test_a_pass_that_left_everything_as_it_was_finds_nothing_moved(now):
    intent = decide(now, as_seen(now))
    assert (intent.champion_moved, intent.challenger_moved, intent.signal, intent.notes) == (False, False, "none", ())


@given(MODELS, st.one_of(st.none(), SEEN))
def test_an_intent_names_only_versions_that_alias_or_stage_name(now, seen):
    intent = decide(now, seen)
    assert intent.champion in {None, now.aliases.get("champion"), now.stages.get("Production")}
    assert intent.challenger in {None, now.aliases.get("challenger"), now.stages.get("Staging")}
    assert intent.challenger is None or intent.challenger != intent.champion


@given(MODELS, SEEN)
def test_a_change_to_a_version_is_followed(now, seen):
    """A version that alias or stage was moved to is the champion, and the alias's if both were."""
    intent = decide(now, seen)
    alias, stage = now.aliases.get("champion"), now.stages.get("Production")
    if alias is not None and alias != seen.champion:
        assert (intent.champion, intent.champion_moved, intent.signal) == (alias, True, "alias")
    elif stage is not None and stage != seen.production:
        assert (intent.champion, intent.champion_moved, intent.signal) == (stage, True, "stage")
    else:
        assert not intent.champion_moved or intent.champion is None


def test_what_a_pass_saw_is_read_back_and_replaced(database):
    now = iter([100.0, 200.0, 300.0])
    ledger = Ledger(database, clock=lambda: next(now))
    assert load_seen(ledger, "digits") is None
    assert last_finished_s(ledger, "digits") is None
    save_seen(ledger, "digits", Seen(1, None, 1, None, None))
    save_seen(ledger, "digits", Seen(2, 3, 2, 3, 1))
    save_seen(ledger, "letters", Seen(None, None, None, None, None))
    assert load_seen(ledger, "digits") == Seen(2, 3, 2, 3, 1)
    assert load_seen(ledger, "letters") == Seen(None, None, None, None, None)
    assert last_finished_s(ledger, "digits") == 200.0
