"""Figures as the pages have them."""

import statistics
from collections.abc import Sequence


def median_and_span(values: Sequence[float]) -> tuple[str, str]:
    """The median, and the smallest to the largest."""
    return f"{statistics.median(values):.2f}", f"{min(values):.2f} to {max(values):.2f}"
