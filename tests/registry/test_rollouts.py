import threading

import pytest

from registry.ledger import Ledger
from registry.rollouts import load_rollout, save_rollout


@pytest.fixture
def ledger(database):
    return Ledger(database)


def test_the_state_saved_last_is_read_back_as_it_was(ledger):
    assert load_rollout(ledger, "digits") is None
    save_rollout(ledger, "digits", 2, {"step": 0, "since": {"http://127.0.0.1:8501": [1, 2.5, None]}})
    save_rollout(ledger, "digits", 3, {"step": 1})
    save_rollout(ledger, "letters", 1, {})
    assert load_rollout(ledger, "digits") == {"step": 1}
    assert load_rollout(ledger, "letters") == {}


def test_a_number_that_json_has_not_is_refused_and_the_state_before_stays(ledger):
    save_rollout(ledger, "digits", 2, {"p": 0.5})
    with pytest.raises(ValueError, match="not JSON compliant"):
        save_rollout(ledger, "digits", 2, {"p": float("nan")})
    assert load_rollout(ledger, "digits") == {"p": 0.5}


def test_first_states_at_once_leave_one_of_them(ledger):
    start = threading.Barrier(8)

    def save(number):
        start.wait()
        save_rollout(ledger, "digits", number, {"by": number})

    threads = [threading.Thread(target=save, args=(number,)) for number in range(1, 9)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert load_rollout(ledger, "digits")["by"] in range(1, 9)
