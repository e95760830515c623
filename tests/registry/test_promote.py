import dataclasses
import multiprocessing
import os
import signal
import threading
import time
import traceback

import pytest

from registry.client import Registry
from registry.deployment import DEPLOY, ROLLED_BACK
from registry.gate import GateReport, RuleResult
from registry.intent import Seen, decide, load_seen, save_seen
from registry.lease import lease
from registry.ledger import CHALLENGER, CHAMPION, Ledger
from registry.outcome import Refusal, record_refused
from registry.promote import Change, champion_to_beat, move_challenger, move_champion, rollback_target
from slipway.errors import ConflictError, InputError, NotFoundError

# One process imports MLflow; the children that are killed, or race, start from it.
PROCESSES = multiprocessing.get_context("forkserver")
PROCESSES.set_forkserver_preload(["mlflow", "mlflow.store.model_registry.sqlalchemy_store", "registry.promote"])


@pytest.fixture
def ledger(world):
    return Ledger(f"sqlite:///{world.folder}/slipway.db")


@pytest.fixture
def three(world):
    """A world with versions 1, 2 and 3 of digits."""
    for _ in range(3):
        world.version("digits")
    return world


def report(version, against, *, passed=True):
    return GateReport("digits", version, against, (RuleResult("accuracy", 0.9, "at least", 0.8, passed),))


def promotion(version, champion, **changes):
    values = {"actor": "ada", "gate_report": report(version, champion), **changes}
    return Change("digits", version, "promote", champion, **values)


def rollback(version, champion):
    return Change("digits", version, "rollback", champion, actor="ada", reason="wrong answers")


def stages(world):
    return [version.stage for version in world.registry.versions("digits")]


def test_a_first_promotion_sets_alias_stage_and_ledger(three, ledger):
    entry = move_champion(three.registry, ledger, promotion(2, None))
    assert three.registry.aliases("digits") == {CHAMPION: 2}
    assert stages(three) == ["None", "Production", "None"]
    assert (entry.from_version, entry.to_version, entry.actor, entry.action) == (None, 2, "ada", "promote")
    assert entry.gate_report["passed"] is True
    assert ledger.entries("digits") == (entry,)


def test_the_former_champion_is_archived(three, ledger):
    move_champion(three.registry, ledger, promotion(1, None))
    entry = move_champion(three.registry, ledger, promotion(2, 1))
    assert stages(three) == ["Archived", "Production", "None"]
    assert entry.from_version == 1


def test_a_challenger_is_staging_and_leaves_the_champion_alone(three, ledger):
    move_champion(three.registry, ledger, promotion(1, None))
    move_challenger(three.registry, ledger, promotion(2, 1))
    entry = move_challenger(three.registry, ledger, promotion(3, 1))
    assert three.registry.aliases("digits") == {CHAMPION: 1, CHALLENGER: 3}
    assert stages(three) == ["Production", "Archived", "Staging"]
    assert (entry.alias, entry.from_version, entry.to_version) == (CHALLENGER, 2, 3)


def test_the_champion_cannot_be_its_own_challenger(three, ledger):
    move_champion(three.registry, ledger, promotion(1, None))
    with pytest.raises(ConflictError, match="is the champion"):
        move_challenger(three.registry, ledger, promotion(1, 1))
    assert stages(three)[0] == "Production"


def test_promoting_the_champion_again_changes_nothing(three, ledger):
    first = move_champion(three.registry, ledger, promotion(1, None))
    assert move_champion(three.registry, ledger, promotion(1, 1)) == first
    assert ledger.entries("digits") == (first,)


def test_rolling_back_twice_returns_to_the_first_champion(three, ledger):
    for version in (1, 2, 3):
        move_champion(three.registry, ledger, promotion(version, version - 1 or None))
    assert rollback_target(three.registry, ledger, "digits") == 2
    move_champion(three.registry, ledger, rollback(2, 3))
    assert stages(three) == ["Archived", "Production", "Archived"]
    assert rollback_target(three.registry, ledger, "digits") == 1
    move_champion(three.registry, ledger, rollback(1, 2))
    assert three.registry.aliases("digits") == {CHAMPION: 1}
    with pytest.raises(NotFoundError, match="first champion"):
        rollback_target(three.registry, ledger, "digits")


def test_a_rollback_goes_to_the_former_champion_that_is_named(three, ledger):
    for version in (1, 2, 3):
        move_champion(three.registry, ledger, promotion(version, version - 1 or None))
    assert rollback_target(three.registry, ledger, "digits", 1) == 1
    with pytest.raises(InputError, match="already"):
        rollback_target(three.registry, ledger, "digits", 3)
    with pytest.raises(NotFoundError, match="no version 9; it has 1, 2, 3"):
        rollback_target(three.registry, ledger, "digits", 9)


def test_a_rollback_to_a_version_that_never_was_champion_is_refused(three, ledger):
    for version in (1, 2):
        move_champion(three.registry, ledger, promotion(version, version - 1 or None))
    with pytest.raises(InputError, match=r"never was champion.*\(1, 2\).*promote it"):
        rollback_target(three.registry, ledger, "digits", 3)
    with pytest.raises(InputError, match="never was champion"):
        move_champion(three.registry, ledger, rollback(3, 2))
    assert three.registry.aliases("digits") == {CHAMPION: 2}


def test_a_rollback_without_a_champion_says_so(three, ledger):
    with pytest.raises(NotFoundError, match="no alias 'champion'"):
        rollback_target(three.registry, ledger, "digits")


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({"gate_report": None}, "needs a gate report that passes"),
        ({"gate_report": report(2, None, passed=False)}, "needs a gate report that passes"),
        ({"gate_report": report(2, None, passed=False), "forced": True, "reason": "  "}, "needs a reason"),
        ({"gate_report": report(3, None)}, "gate report is of digits version 3"),
        ({"gate_report": report(2, 1)}, "compared it with champion 1, expected None"),
    ],
)
def test_a_promotion_without_a_report_that_passes_changes_nothing(three, ledger, changes, problem):
    with pytest.raises(InputError, match=problem):
        move_champion(three.registry, ledger, promotion(2, None, **changes))
    assert three.registry.aliases("digits") == {}
    assert ledger.entries() == ()


def test_a_forced_promotion_is_in_the_ledger_with_its_reason_and_its_refusal(three, ledger):
    refusal = report(2, None, passed=False)
    entry = move_champion(
        three.registry, ledger, promotion(2, None, gate_report=refusal, forced=True, reason="the old one is wrong")
    )
    assert entry.forced
    assert entry.reason == "the old one is wrong"
    assert entry.gate_report["passed"] is False


def test_a_promotion_decided_against_another_champion_is_a_conflict(three, ledger):
    move_champion(three.registry, ledger, promotion(1, None))
    move_champion(three.registry, ledger, promotion(2, 1))
    with pytest.raises(ConflictError, match=r"the champion is version 2, expected 1.*gate"):
        move_champion(three.registry, ledger, promotion(3, 1))
    assert three.registry.aliases("digits") == {CHAMPION: 2}
    assert stages(three)[2] == "None"


@pytest.fixture
def busy(three, ledger):
    """Somebody else's move of digits, under way for another half second; it makes `moved_to` the champion."""
    begun, moved_to = threading.Event(), []

    def move():
        with lease(ledger, "move digits", 60):
            begun.set()
            time.sleep(0.5)
            for version in moved_to:
                three.registry.set_alias("digits", CHAMPION, version)

    other = threading.Thread(target=move)
    other.start()
    begun.wait(20)
    yield moved_to
    other.join(20)


@pytest.mark.parametrize(("move", "alias"), [(move_champion, CHAMPION), (move_challenger, CHALLENGER)])
def test_a_move_waits_for_another_one_that_is_under_way(three, ledger, busy, move, alias):
    assert move(three.registry, ledger, promotion(2, None)).to_version == 2
    assert three.registry.aliases("digits") == {alias: 2}


def test_a_promotion_that_waited_for_another_one_says_that_it_was_overtaken(three, ledger, busy):
    busy.append(3)
    with pytest.raises(ConflictError, match=r"the champion is version 3, expected None: somebody moved it"):
        move_champion(three.registry, ledger, promotion(2, None))
    assert three.registry.aliases("digits") == {CHAMPION: 3}


def left_refused(world, ledger, alias, version):
    """A version that a pass refused under `on_refusal: leave`: it keeps its alias, and version 1 is live."""
    seen = Seen(champion=1, challenger=None, production=1, staging=None, refused=None)
    world.registry.set_alias("digits", alias, version)
    world.registry.set_tags("digits", version, {DEPLOY: "refused"})
    record_refused(world.registry, ledger, Refusal("digits", version, 1, "too slow"), restore=False)
    moved = {"champion": version} if alias == CHAMPION else {"challenger": version}
    save_seen(ledger, "digits", dataclasses.replace(seen, **moved, refused=version))
    assert not moved_anew(world, ledger, alias)


def moved_anew(world, ledger, alias):
    intent = decide(world.registry.model("digits"), load_seen(ledger, "digits"))
    return intent.champion_moved if alias == CHAMPION else intent.challenger_moved


@pytest.mark.parametrize(("move", "alias"), [(move_champion, CHAMPION), (move_challenger, CHALLENGER)])
def test_a_refused_version_that_kept_its_alias_counts_as_moved_anew_when_it_is_promoted_again(
    three, ledger, move, alias
):
    move_champion(three.registry, ledger, promotion(1, None))
    left_refused(three, ledger, alias, 2)
    entry = move(three.registry, ledger, promotion(2, 1))
    assert (entry.action, entry.alias, entry.to_version) == ("promote", alias, 2)
    assert moved_anew(three, ledger, alias)
    assert load_seen(ledger, "digits").refused is None


def test_force_lifts_what_a_rollback_left_on_a_refused_version_that_kept_the_alias(three, ledger):
    move_champion(three.registry, ledger, promotion(1, None))
    three.registry.set_tags("digits", 2, {ROLLED_BACK: "wrong answers"})
    left_refused(three, ledger, CHAMPION, 2)
    with pytest.raises(InputError, match=r"was rolled back from \(wrong answers\).*--force"):
        move_champion(three.registry, ledger, promotion(2, 1))
    assert not moved_anew(three, ledger, CHAMPION)
    move_champion(three.registry, ledger, promotion(2, 1, forced=True, reason="mended"))
    assert ROLLED_BACK not in three.registry.version("digits", 2).tags
    assert moved_anew(three, ledger, CHAMPION)


def test_a_version_that_does_not_exist_is_not_promoted(three, ledger):
    with pytest.raises(NotFoundError, match="no version 9"):
        move_champion(three.registry, ledger, promotion(9, None))
    assert ledger.entries() == ()


def test_a_champion_set_in_the_ui_is_recorded_before_it_is_replaced(three, ledger):
    move_champion(three.registry, ledger, promotion(1, None))
    three.registry.set_alias("digits", CHAMPION, 2)
    move_champion(three.registry, ledger, promotion(3, 2))
    moves = [(entry.action, entry.from_version, entry.to_version) for entry in ledger.entries("digits")]
    assert moves == [("promote", None, 1), ("observed", 1, 2), ("promote", 2, 3)]
    assert rollback_target(three.registry, ledger, "digits") == 2


class _Dying(Registry):
    """A registry whose process is killed right after one kind of change."""

    def __init__(self, uri, after):
        super().__init__(uri)
        self.after = after

    def set_alias(self, name, alias, version):
        super().set_alias(name, alias, version)
        self._die_after("alias")

    def set_stage(self, name, version, stage):
        super().set_stage(name, version, stage)
        self._die_after(stage)

    def _die_after(self, change):
        if change == self.after:
            os.kill(os.getpid(), signal.SIGKILL)


def _die(tracking_uri, ledger_url, after, change):
    move_champion(_Dying(tracking_uri, after), Ledger(ledger_url), change)


def killed(world, ledger, after, change):
    """Run `change` in a process that SIGKILL ends right `after` one step of it."""
    child = PROCESSES.Process(target=_die, args=(world.uri, str(ledger.engine.url), after, change))
    child.start()
    child.join(120)
    assert child.exitcode == -signal.SIGKILL


@pytest.mark.parametrize("after", ["alias", "Archived", "Production"])
def test_the_next_call_finishes_a_promotion_that_was_killed_between_two_changes(three, ledger, after):
    move_champion(three.registry, ledger, promotion(1, None))
    killed(three, ledger, after, promotion(2, 1))
    assert len(ledger.entries("digits")) == 1
    assert champion_to_beat(three.registry, ledger, "digits", 2) == 1

    entry = move_champion(three.registry, ledger, promotion(2, 1))
    assert three.registry.aliases("digits") == {CHAMPION: 2}
    assert stages(three) == ["Archived", "Production", "None"]
    assert (entry.from_version, entry.to_version) == (1, 2)
    assert ledger.verify_chain() == 2


@pytest.mark.parametrize(("after", "to"), [("alias", None), ("Production", 2)])
def test_the_next_call_finishes_a_rollback_that_was_killed_and_goes_no_further(three, ledger, after, to):
    for version in (1, 2, 3):
        move_champion(three.registry, ledger, promotion(version, version - 1 or None))
    killed(three, ledger, after, rollback(2, 3))

    target = rollback_target(three.registry, ledger, "digits", to)
    entry = move_champion(three.registry, ledger, rollback(target, 2))
    assert (entry.action, entry.from_version, entry.to_version) == ("rollback", 3, 2)
    assert three.registry.aliases("digits") == {CHAMPION: 2}
    assert stages(three) == ["Archived", "Production", "Archived"]
    assert rollback_target(three.registry, ledger, "digits") == 1


def test_the_champion_to_beat_is_the_one_that_the_alias_names(three, ledger):
    assert champion_to_beat(three.registry, ledger, "digits", 1) is None
    move_champion(three.registry, ledger, promotion(1, None))
    assert champion_to_beat(three.registry, ledger, "digits", 2) == 1
    assert champion_to_beat(three.registry, ledger, "digits", 1) == 1


def _race(tracking_uri, ledger_url, version, barrier, results):
    try:
        registry, ledger = Registry(tracking_uri), Ledger(ledger_url)
        barrier.wait(240)
        entry = move_champion(registry, ledger, promotion(version, 1))
        results.put((version, "won", entry.id))
    except ConflictError as exc:
        results.put((version, "conflict", str(exc)))
    except BaseException:  # noqa: BLE001, the parent shows what went wrong
        results.put((version, "failed", traceback.format_exc()))


@pytest.mark.integration
def test_of_twenty_concurrent_promotions_one_wins_and_the_others_say_so(world, ledger):
    for _ in range(21):
        world.version("digits")
    move_champion(world.registry, ledger, promotion(1, None))
    barrier, results = PROCESSES.Barrier(20), PROCESSES.Queue()
    children = [
        PROCESSES.Process(target=_race, args=(world.uri, str(ledger.engine.url), version, barrier, results))
        for version in range(2, 22)
    ]
    for child in children:
        child.start()
    outcomes = [results.get(timeout=280) for _ in children]
    for child in children:
        child.join(30)

    winners = [version for version, outcome, _ in outcomes if outcome == "won"]
    assert [detail for _, outcome, detail in outcomes if outcome == "failed"] == []
    assert len(winners) == 1
    assert world.registry.aliases("digits") == {CHAMPION: winners[0]}
    assert [entry.to_version for entry in ledger.entries("digits")] == [1, winners[0]]
    production = [version.version for version in world.registry.versions("digits") if version.stage == "Production"]
    assert production == winners
    assert ledger.verify_chain() == 2
