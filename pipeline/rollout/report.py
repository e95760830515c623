"""What a look came to: a line a measure, and the verdict with its reason."""

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Literal

Verdict = Literal["advance", "hold", "abort", "promote"]
Standing = Literal["go on", "wait", "hold", "abort"]

_MOST_SHOWN = 1e6


@dataclass(frozen=True)
class MeasureLine:
    """One measure at one look.

    canary, stable: the numbers since the rollout began; None where there is none.
    worse, harmless: how often over the bets grew that the candidate is worse than its margin, and that it is not worse
    than this step allows; abort_at, go_on_at: what they have to reach. None for a measure that can only hold.
    low, high: of the difference, canary less stable, for a measure that can only hold. limit: the margin, or what this
    step allows.
    """

    measure: str
    canary: float | None
    stable: float | None
    limit: float
    standing: Standing
    note: str = ""
    worse: float | None = None
    harmless: float | None = None
    abort_at: float | None = None
    go_on_at: float | None = None
    low: float | None = None
    high: float | None = None

    def cells(self) -> tuple[str, ...]:
        """The line's columns, as text."""
        if self.worse is not None and self.harmless is not None:
            found = f"worse {_times(self.worse)} of {_times(self.abort_at)}"
            found += f", harmless {_times(self.harmless)} of {_times(self.go_on_at)}"
        else:
            found = "-" if self.low is None else f"{_number(self.low)} to {_number(self.high)}"
        standing = self.standing.upper() if self.standing == "abort" else self.standing
        return (
            self.measure,
            _number(self.canary),
            _number(self.stable),
            found,
            _number(self.limit),
            standing,
            self.note,
        )


@dataclass(frozen=True)
class RolloutReport:
    """One look at one rollout.

    step, steps: texts, as 25 %. share: percent of the traffic that the candidate answers in this step. answered: its
    requests in this step, of `least`. notes: what else is to be said, such as of servers that did not answer.
    """

    name: str
    version: int
    against: int
    look: int
    step: str
    steps: tuple[str, ...]
    share: float
    answered: int
    least: int
    elapsed_s: float
    verdict: Verdict
    reason: str
    lines: tuple[MeasureLine, ...]
    notes: tuple[str, ...] = ()

    @property
    def passed(self) -> bool:
        """Whether nothing speaks against the candidate: it is not aborted."""
        return self.verdict != "abort"

    def table(self) -> str:
        """The report as aligned columns, for a terminal."""
        rows = [("measure", "canary", "stable", "evidence", "limit", "verdict", "note")]
        rows += [line.cells() for line in self.lines]  # type: ignore[misc]
        widths = [max(len(row[column]) for row in rows) for column in range(6)]
        body = [
            "  ".join([*(cell.ljust(width) for cell, width in zip(row[:6], widths, strict=True)), row[6]]).rstrip()
            for row in rows
        ]
        head = (
            f"{self.name} version {self.version} beside version {self.against}, step {self.step} "
            f"of {', '.join(self.steps)}, look {self.look}: {self.answered} of at least {self.least} requests"
        )
        notes = [f"note: {note}" for note in self.notes]
        return "\n".join([head, *body, *notes, f"{self.verdict}: {self.reason}"])

    def as_dict(self) -> dict[str, Any]:
        """The report as plain JSON values, `passed` as a gate's has it."""
        return {**asdict(self), "passed": self.passed}

    @classmethod
    def from_dict(cls, document: Mapping[str, Any]) -> "RolloutReport":
        """What `as_dict` wrote."""
        values = {key: value for key, value in document.items() if key != "passed"}
        lines = tuple(MeasureLine(**line) for line in document["lines"])
        texts = {key: tuple(document[key]) for key in ("steps", "notes")}
        return cls(**{**values, **texts, "lines": lines})


def grown(log_wealth: float) -> float:
    """A logarithm of wealth as a factor that JSON and a reader can take."""
    return math.exp(min(log_wealth, math.log(_MOST_SHOWN)))


def _times(factor: float | None) -> str:
    if factor is None:
        return "-"
    return f"over {_MOST_SHOWN:.0e}" if factor >= _MOST_SHOWN * (1 - 1e-9) else f"{factor:.3g}"


def _number(value: float | None) -> str:
    return "none" if value is None else f"{value:.4g}"
