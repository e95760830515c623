import multiprocessing
import os
import signal

import pytest

from registry.lease import lease
from registry.ledger import Ledger
from slipway.errors import ConflictError


class Clock:
    now = 1_800_000_000.0

    def __call__(self):
        return self.now


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def ledger(database, clock):
    return Ledger(database, clock)


def test_a_lease_that_is_held_is_refused_naming_holder_host_process_and_time(ledger, monkeypatch):
    monkeypatch.setenv("MLFLOW_TRACKING_USERNAME", "ada")
    with lease(ledger, "digits", 60), pytest.raises(ConflictError) as conflict, lease(ledger, "digits", 60):
        pass
    for part in ("ada", os.uname().nodename, f"process {os.getpid()}", "2027-01-15 08:00:00 UTC", "60 s"):
        assert part in str(conflict.value)


def test_a_lease_is_free_after_its_block_also_when_that_fails(ledger):
    with pytest.raises(ZeroDivisionError), lease(ledger, "digits", 60):
        raise ZeroDivisionError
    with lease(ledger, "digits", 60):
        pass


def test_leases_of_other_keys_do_not_exclude_each_other(ledger):
    with lease(ledger, "digits", 60), lease(ledger, "letters", 60):
        pass


def test_a_lease_whose_time_is_up_is_taken_over_and_its_former_holder_told(ledger, clock):
    with lease(ledger, "digits", 60) as first:
        first.check()
        clock.now += 61
        with lease(ledger, "digits", 60) as second:
            second.check()
            with pytest.raises(ConflictError, match="ran out"):
                first.check()


def test_a_holder_that_comes_late_does_not_release_its_successors_lease(ledger, clock):
    first = lease(ledger, "digits", 60)
    first.__enter__()
    clock.now += 61
    with lease(ledger, "digits", 60) as second:
        first.__exit__(None, None, None)
        second.check()


def _take_and_die(url):
    with lease(Ledger(url, Clock()), "digits", 3600):
        os.kill(os.getpid(), signal.SIGKILL)


def test_the_lease_of_a_killed_process_is_free_at_once(database, ledger):
    child = multiprocessing.get_context("spawn").Process(target=_take_and_die, args=(database,))
    child.start()
    child.join(60)
    assert child.exitcode == -signal.SIGKILL
    with lease(ledger, "digits", 60):
        pass
