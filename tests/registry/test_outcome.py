"""What came of an intent stands in alias, stages and ledger, whenever it is interrupted and whoever comes between."""

import multiprocessing
import os
import signal
import traceback

import pytest

from registry.client import Registry
from registry.deployment import ROLLED_BACK
from registry.intent import Seen, decide, save_seen
from registry.ledger import Ledger
from registry.outcome import UI, UI_ACTOR
from registry.promote import (
    Change,
    Move,
    Refusal,
    champion_to_beat,
    move_challenger,
    move_champion,
    record_live,
    record_refused,
    record_retired,
    rollback_target,
)
from slipway.errors import ConflictError, InputError

# One process imports MLflow; the children that are killed, or race, start from it.
PROCESSES = multiprocessing.get_context("forkserver")
PROCESSES.set_forkserver_preload(["mlflow", "mlflow.store.model_registry.sqlalchemy_store", "registry.promote"])


@pytest.fixture
def ledger(world):
    return Ledger(f"sqlite:///{world.folder}/slipway.db")


@pytest.fixture
def three(world, ledger):
    """Versions 1, 2 and 3 of digits, the first one live."""
    for _ in range(3):
        world.version("digits")
    world.registry.set_alias("digits", "champion", 1)
    record_live(world.registry, ledger, clicked(world.registry, 1))
    return world


def clicked(registry, version, replaces=None):
    """A move in MLflow's UI, as a pass has read it."""
    return Move(registry.model("digits"), version, "promote", UI_ACTOR, UI, "alias champion was moved", replaces)


def rolled_back(registry, version, replaces):
    return Move(registry.model("digits"), version, "rollback", "ada", "command", "wrong answers", replaces)


def forced(version, champion):
    return Change("digits", version, "promote", champion, "ada", reason="needed", forced=True)


def state(world):
    """Aliases, the stage of each version, and what the ledger says of each move."""
    return (
        dict(world.registry.aliases("digits")),
        [version.stage for version in world.registry.versions("digits")],
        [(each.action, each.from_version, each.to_version) for each in Ledger(world.folder_url).entries("digits")],
    )


@pytest.fixture(autouse=True)
def folder_url(world):
    world.folder_url = f"sqlite:///{world.folder}/slipway.db"


def test_an_alias_that_was_moved_in_the_ui_is_live_in_stage_and_ledger_too(three, ledger):
    three.registry.set_alias("digits", "champion", 2)
    entry = record_live(three.registry, ledger, clicked(three.registry, 2, 1))
    assert state(three) == (
        {"champion": 2},
        ["Archived", "Production", "None"],
        [("promote", None, 1), ("promote", 1, 2)],
    )
    assert (entry.actor, entry.origin) == ("not recorded by MLflow", "ui")
    assert three.registry.model("digits").tags == {"slipway.serving": "true"}


def test_a_stage_that_was_moved_in_the_older_ui_moves_the_alias(three, ledger):
    three.registry.set_stage("digits", 2, "Production")
    record_live(three.registry, ledger, clicked(three.registry, 2, 1))
    assert state(three)[:2] == ({"champion": 2}, ["Archived", "Production", "None"])


def test_what_is_recorded_already_is_not_appended_again(three, ledger):
    assert record_live(three.registry, ledger, clicked(three.registry, 1)) is None
    three.registry.set_stage("digits", 1, "Archived")
    assert record_live(three.registry, ledger, clicked(three.registry, 1)) is None
    assert state(three) == ({"champion": 1}, ["Production", "None", "None"], [("promote", None, 1)])


def test_a_candidate_that_is_live_is_a_candidate_no_longer(three, ledger):
    for alias in ("challenger", "champion"):
        three.registry.set_alias("digits", alias, 2)
    three.registry.set_stage("digits", 2, "Staging")
    record_live(three.registry, ledger, clicked(three.registry, 2, 1))
    assert state(three)[:2] == ({"champion": 2}, ["Archived", "Production", "None"])


@pytest.mark.parametrize("moved", [("set_alias", "champion", 3), ("set_stage", 3, "Production")])
def test_a_move_to_another_version_meanwhile_is_not_overwritten(three, ledger, moved):
    three.registry.set_alias("digits", "champion", 2)
    read = clicked(three.registry, 2, 1)
    call, *arguments = moved
    getattr(three.registry, call)("digits", *arguments)
    before = state(three)
    with pytest.raises(ConflictError, match="is on version 3, expected"):
        record_live(three.registry, ledger, read)
    assert state(three) == before


def test_a_refused_version_loses_alias_and_stage_to_the_one_that_stays(three, ledger):
    three.registry.set_alias("digits", "champion", 2)
    three.registry.set_stage("digits", 2, "Production")
    entry = record_refused(three.registry, ledger, Refusal("digits", 2, 1, "golden answers differ"), restore=True)
    assert state(three) == (
        {"champion": 1},
        ["Production", "Archived", "None"],
        [("promote", None, 1), ("refuse", 2, 1)],
    )
    assert (entry.origin, entry.reason) == ("reconcile", "golden answers differ")


def test_a_refusal_of_a_stage_brings_the_former_back_that_the_ui_had_archived(three, ledger):
    three.registry.set_stage("digits", 1, "Archived")
    three.registry.set_stage("digits", 3, "Production")
    record_refused(three.registry, ledger, Refusal("digits", 3, 1, "no"), restore=True)
    assert state(three)[:2] == ({"champion": 1}, ["Production", "None", "Archived"])


def test_a_refused_version_may_keep_its_alias_and_is_no_champion_by_that(three, ledger):
    three.registry.set_alias("digits", "champion", 2)
    record_refused(three.registry, ledger, Refusal("digits", 2, 1, "no"), restore=False)
    assert state(three)[0] == {"champion": 2}
    assert champion_to_beat(three.registry, ledger, "digits", 3) == 1
    move_champion(three.registry, ledger, forced(3, 1))
    assert state(three)[2][1:] == [("refuse", 2, 1), ("promote", 1, 3)]
    assert rollback_target(three.registry, ledger, "digits") == 1


def test_a_first_version_that_is_refused_leaves_no_champion(world, ledger):
    world.version("digits")
    world.registry.set_alias("digits", "champion", 1)
    world.registry.set_stage("digits", 1, "Production")
    record_refused(world.registry, ledger, Refusal("digits", 1, None, "no"), restore=True)
    assert state(world) == ({}, ["Archived"], [("refuse", 1, None)])


def test_a_refused_challenger_loses_its_alias_and_the_champion_nothing(three, ledger):
    move_challenger(three.registry, ledger, Change("digits", 2, "promote", 1, "ada"))
    record_refused(three.registry, ledger, Refusal("digits", 2, 1, "no"), restore=True)
    assert state(three)[:2] == ({"champion": 1}, ["Production", "Archived", "None"])
    assert ledger.last("digits", "champion").to_version == 1
    assert ledger.last("digits", "challenger").action == "refuse"


def test_an_alias_that_went_on_to_a_third_version_is_left_there_by_a_refusal(three, ledger):
    three.registry.set_alias("digits", "champion", 2)
    three.registry.set_stage("digits", 2, "Production")
    three.registry.set_alias("digits", "champion", 3)
    record_refused(three.registry, ledger, Refusal("digits", 2, 1, "no"), restore=True)
    assert state(three)[0] == {"champion": 3}


def test_a_version_that_is_refused_at_each_of_two_clicks_is_refused_twice_in_the_ledger(three, ledger):
    for _ in range(2):
        three.registry.set_alias("digits", "champion", 2)
        record_refused(three.registry, ledger, Refusal("digits", 2, 1, "no"), restore=True)
        save_seen(ledger, "digits", Seen(1, None, 1, None, refused=2))
    assert [action for action, *_ in state(three)[2]] == ["promote", "refuse", "refuse"]


def test_a_retired_model_has_no_champion_and_the_next_one_can_go_back_to_it(three, ledger):
    entry = record_retired(three.registry, ledger, "digits", 1, "alias champion was deleted")
    assert record_retired(three.registry, ledger, "digits", 1, "alias champion was deleted") == entry
    assert state(three) == ({}, ["Archived", "None", "None"], [("promote", None, 1), ("retire", 1, None)])
    assert entry.actor == UI_ACTOR
    three.registry.set_alias("digits", "champion", 2)
    record_live(three.registry, ledger, clicked(three.registry, 2))
    assert rollback_target(three.registry, ledger, "digits") == 1


def test_a_version_that_was_rolled_back_from_is_promoted_again_only_by_force(three, ledger):
    move_champion(three.registry, ledger, forced(2, 1))
    move_champion(three.registry, ledger, Change("digits", 1, "rollback", 2, "ada", reason="wrong answers"))
    assert three.registry.version("digits", 2).tags[ROLLED_BACK] == "wrong answers"
    before = state(three)
    passed = Change("digits", 2, "promote", 1, "ada", gate_report=_passed(2, 1))
    with pytest.raises(InputError, match=r"version 2 was rolled back from \(wrong answers\).*--force --reason"):
        move_champion(three.registry, ledger, passed)
    assert state(three) == before
    move_champion(three.registry, ledger, forced(2, 1))
    assert ROLLED_BACK not in three.registry.version("digits", 2).tags


def test_a_rollback_that_a_pass_made_live_tags_what_it_left_and_frees_what_it_went_to(three, ledger):
    for version, before in ((2, 1), (3, 2)):
        move_champion(three.registry, ledger, forced(version, before))
    record_live(three.registry, ledger, rolled_back(three.registry, 2, 3))
    record_live(three.registry, ledger, rolled_back(three.registry, 3, 2))
    tags = [version.tags.get(ROLLED_BACK) for version in three.registry.versions("digits")]
    assert tags == [None, "wrong answers", None]


def _passed(version, against):
    from registry.gate import GateReport, RuleResult

    return GateReport("digits", version, against, (RuleResult("accuracy", 0.9, "at least", 0.8, True),))


class _Dying:
    """Ends this process right after its n-th change, of the registry or of the ledger."""

    def __init__(self, changes):
        self.left = changes

    def after(self, thing, names):
        for name in names:
            setattr(thing, name, self._counted(getattr(thing, name)))
        return thing

    def _counted(self, change):
        def then(*arguments, **options):
            result = change(*arguments, **options)
            self.left -= 1
            if self.left == 0:
                os.kill(os.getpid(), signal.SIGKILL)
            return result

        return then


BEFORE = Seen(1, None, 1, None, None)


def _goes_live(registry, ledger):
    if decide(registry.model("digits"), BEFORE).champion == 2:
        record_live(registry, ledger, clicked(registry, 2, 1))


def _is_refused(registry, ledger):
    if decide(registry.model("digits"), BEFORE).champion == 2:
        record_refused(registry, ledger, Refusal("digits", 2, 1, "no"), restore=True)


def _is_retired(registry, ledger):
    if decide(registry.model("digits"), BEFORE).champion is None:
        record_retired(registry, ledger, "digits", 1, "alias champion was deleted")


def _killed(a_pass, registry_uri, ledger_url, changes):
    dying = _Dying(changes)
    registry = dying.after(Registry(registry_uri), ["set_alias", "delete_alias", "set_stage", "set_tags", "tag_model"])
    a_pass(registry, dying.after(Ledger(ledger_url), ["append"]))


@pytest.mark.integration
@pytest.mark.parametrize(
    ("click", "a_pass", "live", "changes"),
    [
        (("set_stage", 2, "Production"), _goes_live, 2, 3),  # alias, Archived, entry
        (("set_alias", "champion", 2), _goes_live, 2, 3),  # Archived, Production, entry
        (("set_alias", "champion", 2), _is_refused, 1, 2),  # entry, alias
        (("set_stage", 2, "Production"), _is_refused, 1, 2),  # entry, Archived
        (("delete_alias", "champion"), _is_retired, None, 2),  # entry, Archived
    ],
)
def test_a_pass_that_is_killed_after_any_of_its_changes_is_finished_by_the_next(
    three, ledger, click, a_pass, live, changes
):
    call, *arguments = click
    ends = []
    for after in range(1, changes + 1):
        getattr(three.registry, call)("digits", *arguments)
        entries = len(ledger.entries())
        child = PROCESSES.Process(target=_killed, args=(a_pass, three.uri, three.folder_url, after))
        child.start()
        child.join(120)
        assert child.exitcode == -signal.SIGKILL
        a_pass(three.registry, ledger)
        ends.append(state(three)[:2])
        assert len(ledger.entries()) == entries + 1
        assert ledger.entries()[-1].to_version == live
        record_live(three.registry, ledger, clicked_back(three.registry))
        save_seen(ledger, "digits", BEFORE)
    assert ends[0][0].get("champion") == live
    assert [version for version, stage in enumerate(ends[0][1], 1) if stage == "Production"] == ([live] if live else [])
    assert ends == [ends[0]] * changes
    assert ledger.verify_chain() == len(ledger.entries())


def clicked_back(registry):
    """Version 1 live and version 2 untouched again, as before the click."""
    registry.set_alias("digits", "champion", 1)
    for version, stage in ((1, "Production"), (2, "None")):
        registry.set_stage("digits", version, stage)
    return clicked(registry, 1)


def _race(registry_uri, ledger_url, barrier, outcomes):
    try:
        registry, ledger = Registry(registry_uri), Ledger(ledger_url)
        read = clicked(registry, 2, 1)
        barrier.wait(240)
        entry = record_live(registry, ledger, read)
        outcomes.put("appended" if entry is not None else "there already")
    except BaseException:  # noqa: BLE001, the parent shows what went wrong
        outcomes.put(traceback.format_exc())


@pytest.mark.integration
def test_eight_who_record_the_same_at_once_append_one_entry(three, ledger):
    three.registry.set_alias("digits", "champion", 2)
    barrier, outcomes = PROCESSES.Barrier(8), PROCESSES.Queue()
    children = [
        PROCESSES.Process(target=_race, args=(three.uri, three.folder_url, barrier, outcomes)) for _ in range(8)
    ]
    for child in children:
        child.start()
    found = sorted(outcomes.get(timeout=280) for _ in children)
    for child in children:
        child.join(30)
    assert found == ["appended", *["there already"] * 7]
    assert state(three) == (
        {"champion": 2},
        ["Archived", "Production", "None"],
        [("promote", None, 1), ("promote", 1, 2)],
    )
    assert ledger.verify_chain() == 2
