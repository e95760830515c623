"""What a trace tells of one prediction: the parts that it consists of, and who is told. No library is needed here."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple, Protocol

from serving.model_server.callers import Caller

Attributes = Mapping[str, str | int]


class Interval(NamedTuple):
    """A part of a prediction, between two moments of time.perf_counter()."""

    name: str  # queue, batch (with the wait for it) or run
    begun_s: float
    ended_s: float
    attributes: Attributes


class Trace(Protocol):
    """One prediction that was chosen to be traced."""

    def end(self, parts: Sequence[Interval], attributes: Attributes, error: str) -> None:
        """It was answered. error: the status that it failed by; "" if the server did as it should."""


class Tracing(Protocol):
    """Chooses predictions, and sends their spans. Every method may be called from any thread."""

    def begin(self, name: str, caller: Caller | None, begun_s: float) -> Trace | None:
        """One was taken at that moment; None if it is not traced. A caller that says so in `traceparent` decides."""

    def close(self) -> None:
        """Send what was not sent yet."""
