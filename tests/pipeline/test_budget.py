"""How long a training may last: an epoch is begun that is over in time, and while the training is still ours."""

import time

import pytest

from pipeline.budget import Budget, OutOfTime
from slipway.errors import ConflictError


def test_an_epoch_is_begun_that_would_be_over_in_time():
    budget = Budget(time.monotonic() + 60)
    assert budget.has_time_for(1)
    assert not budget.has_time_for(100)


def test_without_a_time_there_is_always_time():
    assert Budget().has_time_for(1e9)
    Budget().check_first_epoch()


def test_a_time_that_is_up_before_the_first_epoch_is_said():
    with pytest.raises(OutOfTime, match="--max-minutes"):
        Budget(0.0).check_first_epoch()


def test_no_epoch_is_begun_once_somebody_else_has_taken_over():
    def check():
        raise ConflictError("its time ran out")

    with pytest.raises(ConflictError, match="ran out"):
        Budget(check=check).has_time_for(1)
