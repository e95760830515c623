"""What a user may say about retraining."""

import math
from dataclasses import dataclass

from slipway.errors import InputError

STARTS = ("champion", "scratch")


@dataclass(frozen=True)
class RetrainConfig:
    """When to train again, from what, and for how long. Raises InputError for a value out of range.

    regression_set: images like `data.source`, or none: they never enter training, and a candidate that has fewer of
        them right than the champion is refused.
    start: the weights to begin with: the champion's, or as `train` begins.
    max_age_days: a champion older than this is a reason; 0: age is none.
    cool_down_hours: after a refusal there is no other attempt for so long, unless forced.
    max_minutes: training ends with the last epoch that is over by then; 0: no limit.
    """

    regression_set: str = ""
    start: str = "champion"
    max_age_days: float = 0.0
    cool_down_hours: float = 48.0
    max_minutes: float = 0.0

    def __post_init__(self) -> None:
        if self.start not in STARTS:
            raise InputError(
                f"retrain.start is {self.start!r}; expected {' or '.join(STARTS)}. Edit it or pass --from."
            )
        for key in ("max_age_days", "cool_down_hours", "max_minutes"):
            value = getattr(self, key)
            if not 0 <= value < math.inf:
                raise InputError(
                    f"retrain.{key} is {value}; expected 0 or more. Edit it or pass --{key.replace('_', '-')}."
                )
