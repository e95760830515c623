import pytest
from hypothesis import given
from hypothesis import strategies as st

from registry.deployment import DEPLOY, DEPLOY_REASON, DEPLOY_TIME, LONGEST_DESCRIPTION, note, with_line

LINE = "Slipway: live since 2027-01-15 08:00:00 UTC. promote by ada"


@pytest.fixture
def digits(world):
    world.version("digits")
    return world


def say(world, state="live", reason="promote by ada", time_s=1_800_000_000.0):
    note(world.registry, "digits", 1, state, reason, time_s)
    return world.registry.version("digits", 1)


def test_a_note_is_three_tags_and_a_line_on_top_of_the_description(digits):
    version = say(digits)
    assert version.tags == {DEPLOY: "live", DEPLOY_REASON: "promote by ada", DEPLOY_TIME: "2027-01-15T08:00:00+00:00"}
    assert version.description == f"{LINE}\n\na description"


def test_a_note_replaces_the_one_before_whatever_people_wrote_around_it(digits):
    digits.registry.set_description("digits", 1, f"Seen by Bob.\n\n{say(digits).description}\n\nAnd below.")
    version = say(digits, "retired", "version 2 is live in its place", 1_800_000_060.0)
    line, _, rest = version.description.partition("\n\n")
    assert line == "Slipway: retired since 2027-01-15 08:01:00 UTC. version 2 is live in its place"
    assert rest == "Seen by Bob.\n\na description\n\nAnd below."
    assert version.tags[DEPLOY] == "retired"


def test_nothing_is_written_when_only_the_time_is_new(digits):
    before = say(digits)
    assert say(digits, time_s=1_900_000_000.0) == before


def test_a_line_that_somebody_deleted_is_written_again(digits):
    say(digits)
    digits.registry.set_description("digits", 1, "")
    assert say(digits).description == LINE


def test_a_reason_is_one_short_line_without_credentials(digits):
    version = say(digits, "refused", "https://ada:secret@host/x:\nno answer\n" + "x" * 1000)
    assert version.tags[DEPLOY_REASON].startswith("https://host/x: no answer xxx")
    assert len(version.tags[DEPLOY_REASON]) == 500
    assert "secret" not in version.description
    assert version.description.endswith("xxx...\n\na description")


def test_where_a_description_leaves_no_room_the_tags_say_it_and_the_words_stay(digits):
    words = "x" * LONGEST_DESCRIPTION
    digits.registry.set_description("digits", 1, words)
    version = say(digits)
    assert version.description == words
    assert version.tags[DEPLOY] == "live"


@given(st.text(max_size=LONGEST_DESCRIPTION), st.text(st.characters(exclude_categories=["C", "Z"])))
def test_a_description_keeps_every_word_and_has_at_most_one_line(description, reason):
    line = f"Slipway: refused since 2027-01-15 08:00:00 UTC. {reason}"
    once = with_line(description, line)
    assert len(once) <= LONGEST_DESCRIPTION
    assert once.endswith(description)
    assert with_line(once, line) == once
    assert with_line(once, line.replace("refused", "retired")).count("Slipway: ") == once.count("Slipway: ")
