import pytest
from hypothesis import given
from hypothesis import strategies as st

from registry.gate import Candidate, gate
from registry.history import gate_numbers, history, history_table
from registry.ledger import Ledger, NewEntry
from registry.policy import Policy
from tests.registry.conftest import make_evaluation

TRUTH = [0, 1] * 10


@pytest.fixture
def ledger(tmp_path):
    times = iter(range(1_800_000_000, 1_900_000_000))
    return Ledger(f"sqlite:///{tmp_path}/slipway.db", clock=lambda: float(next(times)))


def candidate(version, right):
    """A version that has so many of twenty images right."""
    predicted = [truth if place < right else 1 - truth for place, truth in enumerate(TRUTH)]
    return Candidate("digits", version, make_evaluation(TRUTH, predicted), parity=0.0, size_bytes=1)


def report(right, champion_right=None):
    champion = None if champion_right is None else candidate(1, champion_right)
    return gate(candidate(2, right), champion, Policy())


def append(ledger, action, before, version, **more):
    fields = {"alias": "champion", "actor": "ada", "origin": "command", "reason": "because", **more}
    return ledger.append(NewEntry("digits", action=action, from_version=before, to_version=version, **fields))


def test_history_shows_who_when_from_to_where_from_why_and_the_gates_numbers(ledger):
    append(ledger, "promote", None, 1, gate_report=report(19).as_dict())
    append(ledger, "promote", 1, 2, forced=True, gate_report=report(10, 19).as_dict(), reason="the old one is wrong")
    append(ledger, "rollback", 2, 1, actor="bea")
    lines = history_table(history(ledger, "digits")).splitlines()
    assert lines[0].split() == ["time", "action", "alias", "from", "to", "by", "origin", "gate", "reason"]
    assert lines[1].split()[:6] == ["2027-01-15T08:00:00+00:00", "promote", "champion", "-", "1", "ada"]
    assert "passed 0.9500" in lines[1]
    assert "forced 0.5000 against 0.9500, rules refused: 4 " in lines[2]
    assert lines[2].endswith("the old one is wrong")
    assert lines[3].split()[1:] == ["rollback", "champion", "2", "1", "bea", "command", "none", "because"]


def test_a_promotion_in_the_ui_names_no_actor_that_nobody_recorded(ledger):
    append(ledger, "promote", 1, 2, actor="not recorded by MLflow", origin="ui")
    (row,) = history(ledger, "digits")
    assert (row.actor, row.origin) == ("not recorded by MLflow", "ui")


def test_a_refusal_and_a_retirement_are_rows_too(ledger):
    append(ledger, "refuse", 2, 1, reason="golden answers\ndiffer")
    append(ledger, "retire", 1, None)
    refusal, retirement = history_table(history(ledger, "digits")).splitlines()[1:]
    assert retirement.split()[1:5] == ["retire", "champion", "1", "-"]
    assert refusal.split()[1:5] == ["refuse", "champion", "2", "1"]
    assert refusal.endswith("golden answers differ")


def test_a_row_as_json_has_the_verdict_its_numbers_and_the_entrys_digest(ledger):
    entry = append(ledger, "promote", 1, 2, gate_report=report(19, 18).as_dict())
    (row,) = history(ledger, "digits")
    document = row.as_dict()
    assert (document["id"], document["digest"], document["gate"]) == (1, entry.digest, "passed")
    assert document["numbers"] == {
        "accuracy": 0.95,
        "champion": 1,
        "champion_accuracy": pytest.approx(0.9),
        "refused": [],
    }


def test_another_models_entries_are_not_in_it(ledger):
    append(ledger, "promote", None, 1)
    assert history(ledger, "letters") == ()


@pytest.mark.parametrize("document", [None, {}, {"passed": True}, {"measure": "error rate", "rules": []}])
def test_what_is_no_gate_report_has_no_numbers(document):
    assert gate_numbers(document).text() == "none"
    assert gate_numbers(document, forced=True).text() == "forced"


@given(right=st.integers(0, 20), champion_right=st.none() | st.integers(0, 20))
def test_the_numbers_are_the_reports_own(right, champion_right):
    made = report(right, champion_right)
    numbers = gate_numbers(made.as_dict())
    assert numbers.verdict == ("passed" if made.passed else "refused")
    assert numbers.accuracy == right / 20
    assert numbers.champion_accuracy == (None if champion_right is None else pytest.approx(champion_right / 20))
    assert list(numbers.refused) == [rule.rule for rule in made.rules if not rule.passed]
