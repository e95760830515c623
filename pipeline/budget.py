"""How long a training may last, and whether it is still ours."""

import math
import time
from collections.abc import Callable
from dataclasses import dataclass

from slipway.errors import SlipwayError


def _nothing() -> None:
    pass


@dataclass(frozen=True)
class Budget:
    """Until when a training may last, by `time.monotonic()`. It ends with the last epoch that is over by then.

    check: asked after each epoch; raises once somebody else has taken the training over.
    """

    until_s: float = math.inf
    check: Callable[[], None] = _nothing

    def has_time_for(self, took_s: float) -> bool:
        """Whether another epoch as long as the last one is over in time; raises what `check` does."""
        self.check()
        return time.monotonic() + took_s <= self.until_s

    def check_first_epoch(self) -> None:
        """Raise OutOfTime once the time is up: then there is not one epoch to keep."""
        if time.monotonic() > self.until_s:
            raise OutOfTime(
                "training: the budget was up before the first epoch ended; expected time for one epoch at least. "
                "Pass a larger --max-minutes, or less to learn from."
            )


class OutOfTime(SlipwayError):  # noqa: N818 - named as what happened
    """A budget was too small for a single epoch."""
