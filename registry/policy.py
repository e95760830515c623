"""What a candidate must show before it may be champion."""

import math
from dataclasses import Field, dataclass, fields
from typing import Any

from slipway.errors import InputError

_RANGES = {
    "minimum_accuracy": (0.0, 1.0),
    "champion_margin": (0.0, 1.0),
    "significance": (0.0, 0.5),
    "recall_drop": (0.0, 1.0),
    "recall_minimum_support": (1, math.inf),
    "maximum_parity": (0.0, 1.0),
    "maximum_size_mb": (0.0, math.inf),
}


@dataclass(frozen=True)
class Policy:
    """The gate's limits; a value outside its range raises InputError.

    Attributes:
        minimum_accuracy: top-1 accuracy on the held-out split, 0 to 1.
        champion_margin: how far below the champion's accuracy, on the same images, the candidate's may lie.
        significance: the paired test refuses when, were the two networks equally good, so many pictures lost against
            pictures won had a smaller probability than this.
        recall_drop: how far a class's recall may fall below the champion's.
        recall_minimum_support: classes with fewer images than this are judged together, as one group.
        maximum_parity: largest absolute difference between the servable's and the trained network's outputs.
        maximum_size_mb: the servable's size, in millions of bytes.
        require_signature: only versions that a trusted key has signed may be champion, published, or gone back to.
    """

    minimum_accuracy: float = 0.80
    champion_margin: float = 0.01
    significance: float = 0.05
    recall_drop: float = 0.15
    recall_minimum_support: int = 10
    maximum_parity: float = 1e-5
    maximum_size_mb: float = 2048.0
    require_signature: bool = False

    def __post_init__(self) -> None:
        problems = [problem for field in fields(self) if (problem := _problem(field, getattr(self, field.name)))]
        if problems:
            raise InputError(f"gate policy: {'; '.join(problems)}. Edit the policy.")


def _problem(field: Field[Any], value: object) -> str:
    """What is wrong with the value of a field; "" if nothing is."""
    if field.type is bool:
        return "" if isinstance(value, bool) else f"{field.name} is {value!r}; expected true or false"
    low, high = _RANGES[field.name]
    whole = field.type is int
    if isinstance(value, int if whole else (int, float)) and not isinstance(value, bool) and low <= value <= high:
        return ""
    kind = "whole number" if whole else "number"
    limits = f"from {low:g}" if high == math.inf else f"from {low:g} to {high:g}"
    return f"{field.name} is {value!r}; expected a {kind} {limits}"
