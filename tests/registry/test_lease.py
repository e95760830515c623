import multiprocessing
import os
import signal
import threading
import time

import pytest

from registry.lease import is_left, lease, renewed_lease
from registry.ledger import Ledger
from slipway.errors import ConflictError, UnavailableError
from tests.pipeline.lifecycle_world import wait_until


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


def test_one_who_waits_gets_the_lease_when_it_is_released(ledger):
    released = []

    def hold():
        with lease(ledger, "digits", 60):
            held.set()
            time.sleep(0.5)
            released.append(time.monotonic())

    held = threading.Event()
    holder = threading.Thread(target=hold)
    holder.start()
    assert held.wait(10)
    with lease(ledger, "digits", 60, wait_s=20):
        assert time.monotonic() >= released[0]
    holder.join()


def test_one_who_takes_it_again_at_once_keeps_nobody_out(ledger):
    stop, taken = threading.Event(), []

    def take_again_and_again():
        while not stop.is_set():
            with lease(ledger, "digits", 60, wait_s=60):
                taken.append(time.monotonic())
                time.sleep(0.1)

    greedy = [threading.Thread(target=take_again_and_again) for _ in range(2)]
    for each in greedy:
        each.start()
    try:
        wait_until(lambda: taken, "nobody took it", 60)
        for _ in range(2):
            began = time.monotonic()
            with lease(ledger, "digits", 60, wait_s=20):
                waited_s = time.monotonic() - began
            assert waited_s < 10
    finally:
        stop.set()
        for each in greedy:
            each.join()
    assert taken


def test_a_place_in_line_is_left_with_its_process(database, ledger):
    processes = multiprocessing.get_context("spawn")
    with lease(ledger, "digits", 60):
        child = processes.Process(target=_wait_for, args=(database,))
        child.start()
        wait_until(lambda: "is next" in _refusal(ledger, "digits"), "nobody came to wait", 60)
        child.kill()
        child.join(60)
    with lease(ledger, "digits", 60):
        pass


def _wait_for(url):
    with lease(Ledger(url, Clock()), "digits", 60, wait_s=3600):
        pass


def _refusal(ledger, key):
    with pytest.raises(ConflictError) as conflict, lease(ledger, key, 60):
        pass
    return str(conflict.value)


def test_one_who_waits_for_longer_than_it_may_is_told_who_holds_it(ledger):
    began = time.monotonic()
    with (
        lease(ledger, "digits", 60),
        pytest.raises(ConflictError, match="holds it on"),
        lease(ledger, "digits", 60, wait_s=0.5),
    ):
        pass
    assert 0.5 <= time.monotonic() - began < 10


def test_a_renewed_lease_outlasts_its_time_and_is_free_after_its_block(database):
    ledger = Ledger(database)
    with renewed_lease(ledger, "reconcile", 1.5) as held:
        time.sleep(3)
        held.check()
        with pytest.raises(ConflictError), lease(ledger, "reconcile", 60):
            pass
    with lease(ledger, "reconcile", 60):
        pass


def test_a_renewal_does_not_take_back_a_lease_that_another_has_taken_over(ledger, clock):
    with renewed_lease(ledger, "reconcile", 0.6) as first:
        clock.now += 5  # as after a machine that stood still
        with lease(ledger, "reconcile", 60) as second:
            time.sleep(1)
            second.check()
            with pytest.raises(ConflictError, match="ran out"):
                first.check()


def test_a_renewed_lease_goes_on_when_the_database_was_away_for_a_moment(tmp_path):
    database = tmp_path / "slipway.db"
    ledger = Ledger(f"sqlite:///{database}")
    with renewed_lease(ledger, "reconcile", 2) as held:
        ledger.engine.dispose()
        database.rename(tmp_path / "away")
        database.mkdir()  # what is no database cannot be opened
        time.sleep(0.9)
        with pytest.raises(UnavailableError):
            held.check()
        database.rmdir()
        (tmp_path / "away").rename(database)
        time.sleep(2)
        held.check()


def test_a_lease_whose_database_is_gone_at_the_end_does_not_hide_what_was_done(tmp_path):
    database = tmp_path / "slipway.db"
    ledger = Ledger(f"sqlite:///{database}")
    with lease(ledger, "digits", 60):
        ledger.engine.dispose()
        database.unlink()
        database.mkdir()


def _hold_elsewhere(url, held):
    """As a process on another machine: nobody here can see that it is gone."""
    import registry.lease

    registry.lease._process_space = lambda: "another machine"
    with renewed_lease(Ledger(url), "reconcile", 2):
        held.set()
        time.sleep(3600)


def test_the_lease_of_a_holder_that_died_elsewhere_is_taken_over_within_its_time(tmp_path):
    ledger = Ledger(f"sqlite:///{tmp_path}/slipway.db")
    processes = multiprocessing.get_context("spawn")
    held = processes.Event()
    child = processes.Process(target=_hold_elsewhere, args=(str(ledger.engine.url), held))
    child.start()
    assert held.wait(60)
    child.kill()
    child.join(60)
    began = time.monotonic()
    with lease(ledger, "reconcile", 60, wait_s=20):
        assert time.monotonic() - began < 2 + 2


def elsewhere(ledger, key):
    """Have the lease's holder be a process of another machine."""
    from sqlalchemy import update

    from registry.database import LEASE

    with ledger.engine.begin() as connection:
        connection.execute(update(LEASE).where(LEASE.c.key == key).values(host="pod-1", process_space="another"))


def test_a_holder_elsewhere_that_renews_nothing_is_waited_out(database):
    ledger = Ledger(database)
    with lease(ledger, "digits", 0.6):
        elsewhere(ledger, "digits")
        began_s = time.monotonic()
        assert is_left(ledger, "digits", 0.05)
        assert 0.3 < time.monotonic() - began_s < 20
        with lease(ledger, "digits", 60) as ours:
            ours.check()


def test_a_holder_elsewhere_that_renews_its_lease_is_at_it(database):
    ledger = Ledger(database)
    with renewed_lease(ledger, "digits", 3):
        elsewhere(ledger, "digits")
        assert not is_left(ledger, "digits", 0.05)


def test_a_living_holder_on_this_machine_is_known_at_once(ledger):
    with lease(ledger, "digits", 1000):
        assert not is_left(ledger, "digits", 1000)
    assert is_left(ledger, "digits", 1000)
