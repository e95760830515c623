"""A candidate that is worse than the champion: refused, and overridden only by force with a reason."""

import re

import pytest

from tests.pipeline.lifecycle_world import NAME, json_of

pytestmark = pytest.mark.integration

PROMOTE = ("promote", "--version", "3")


def test_a_network_of_one_epoch_is_refused_and_nothing_is_changed(world):
    """Exit code 3, a table of rules, the next command; registry, base path, configs and ledger as they were."""
    before = world.state()
    done = world.run(*PROMOTE)
    assert (done.code, done.err) == (3, "")
    assert f"{NAME} version 3 is refused, against champion version 1:" in done.out
    rules = [line for line in done.out.splitlines() if re.search(r"  (pass|REFUSE)\b", line)]
    assert len(rules) == 8
    assert any(re.match(r"accuracy +0\.\d+ +at least 0\.8 +REFUSE", rule) for rule in rules)
    assert any(re.match(r"paired test, p +\S+ +at least 0\.05 +REFUSE .*images lost", rule) for rule in rules)
    assert "refused: nothing was changed" in done.out
    assert world.state() == before


def test_the_refusal_is_recorded_where_the_version_and_its_run_are(world, monkeypatch):
    """The tag of the version says refused; the report lies with the version's run and with the gate's."""
    done = world.call(monkeypatch, "gate", "--version", "3", "--json")
    report = json_of(done)
    assert (done.code, report["passed"], report["against"]) == (3, False, 1)
    version = world.registry.version(NAME, 3)
    assert version.tags["slipway.gate"] == "refused"
    logged = world.registry.read_artifact(version.run_id, f"gate/{NAME}-3.json").decode()
    assert '"passed": false' in logged


def test_force_without_a_reason_is_wrong_usage_and_changes_nothing(world, monkeypatch):
    """Exit code 2 and one line that says what is missing."""
    before = world.state()
    done = world.call(monkeypatch, *PROMOTE, "--force")
    assert done.code == 2
    assert re.search(r"--force is given without --reason; expected why .* Pass --reason TEXT", done.error)
    assert world.state() == before


def test_force_with_a_reason_overrides_and_the_ledger_says_so(world, monkeypatch):
    """The refused version goes live; entry and history say forced, why, and which rules it failed."""
    done = world.call(monkeypatch, *PROMOTE, "--force", "--reason", "the demo is tonight")
    assert done.code == 0
    assert f"{NAME}: champion is version 3 (forced), was version 1" in done.out
    assert set(map(str, world.live().values())) == {"3", "[3]"}
    entry = world.ledger.entries(NAME)[-1]
    assert (entry.forced, entry.reason, entry.gate_report["passed"]) == (True, "the demo is tonight", False)
    row = json_of(world.call(monkeypatch, "history", "--json"))[-1]
    assert (row["gate"], row["reason"]) == ("forced", "the demo is tonight")


def test_main_stops_at_a_refusal_and_leaves_the_champion(world, first):
    """A nightly `main` of one epoch: exit code 3, a new version that is not live, and the way on."""
    before = world.state()
    done = world.run("main", "--network", "tiny", "--image-size", "32", "--epochs", "1", "--batch-size", "256")
    assert done.code == 3
    assert re.search(r"refused +nothing was changed about what is live", done.out)
    assert done.next_words[:5] == ["promote", "--name", NAME, "--version", "4"]
    after = world.state()
    assert after["versions"] == [*before["versions"], (4, (), "None")]
    assert {**after, "versions": None} == {**before, "versions": None}
