"""From windows to a finding: a measure is found when k of the n windows differ, surely enough and by enough."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from pipeline.drift.config import DriftConfig
from pipeline.drift.measures import MEASURES, Context, Difference
from pipeline.drift.sample import Sample


@dataclass(frozen=True)
class Finding:
    """One measure over the windows.

    statistic, p: what `found_windows` windows (or all that were measured, if fewer) reach at least; None where none
    was measured. found_in: windows that differ, of those that were measured. limit: the least statistic that counts.
    """

    measure: str
    statistic: float | None
    p: float | None
    found_in: int
    of: int
    found: bool
    limit: float
    note: str = ""  # of the last window

    def as_tag(self) -> dict[str, float | int | None]:
        return {"statistic": self.statistic, "p": self.p, "found_in": self.found_in, "of": self.of}


def level(config: DriftConfig) -> float:
    """The level of one window's test of one measure.

    All windows are held against one reference, so their tests depend on each other, in a way that nobody knows. But
    the expected number of windows that differ by chance is at most n times the level, so (Markov) the chance of k such
    windows is at most n times the level divided by k; over m measures it is at most m times that, which is alpha.
    """
    return config.alpha * config.found_windows / (config.windows * len(MEASURES))


def judge(reference: Sample, windows: Sequence[Sample], config: DriftConfig) -> tuple[Finding, ...]:
    """Every measure over all windows, the newest window last; the same samples always give the same."""
    return tuple(_finding(measure, reference, windows, config) for measure in MEASURES)


def _finding(measure: str, reference: Sample, windows: Sequence[Sample], config: DriftConfig) -> Finding:
    compare, key = MEASURES[measure]
    limit: float = getattr(config, key)
    random = np.random.default_rng(0)
    differences: list[Difference] = []
    note = ""
    for window in windows:
        found = compare(reference, window, Context(config.least_samples, random))
        if isinstance(found, Difference):
            differences.append(found)
            note = found.note
        else:
            note = f"not measured: {found}"
    if not differences:
        return Finding(measure, None, None, 0, 0, found=False, limit=limit, note=note)
    least = level(config)
    found_in = sum(each.p <= least and each.statistic >= limit for each in differences)
    place = min(config.found_windows, len(differences)) - 1
    return Finding(
        measure,
        sorted((each.statistic for each in differences), reverse=True)[place],
        sorted(each.p for each in differences)[place],
        found_in,
        len(differences),
        found_in >= config.found_windows,
        limit,
        note,
    )
