"""Whether a webhook delivery is MLflow's own, fresh, and seen for the first time."""

import base64
import hashlib
import hmac
import os
import secrets
import threading
import time
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import Enum

from slipway.errors import InputError

SECRET_VARIABLE = "SLIPWAY_WEBHOOK_SECRET"  # noqa: S105 - its name # nosec B105
WINDOW_S = 300.0  # how far a delivery's time may be from ours: what the Standard Webhooks convention recommends
REMEMBERED = 10_000
_SHORTEST_SECRET = 16
_LONGEST_ID = 200
_SIGNATURE, _ID, _TIME = "x-mlflow-signature", "x-mlflow-delivery-id", "x-mlflow-timestamp"


class Verdict(Enum):
    """What becomes of a delivery: its name in the tally, and the HTTP status that the sender gets."""

    ACCEPTED = ("accepted", 204)
    FORGED = ("forged", 401)
    OUT_OF_DATE = ("out of date", 403)
    REPLAYED = ("replayed", 409)
    MALFORMED = ("malformed", 400)
    TOO_LARGE = ("too large", 413)
    TOO_SLOW = ("too slow", 408)
    METHOD = ("not a POST", 405)
    CROWDED = ("too many at once", 429)

    def __init__(self, words: str, status: int) -> None:
        self.words = words
        self.status = status


@dataclass(frozen=True)
class Tally:
    """How many deliveries came. refused: their number by reason, for the reasons that occurred."""

    accepted: int = 0
    refused: Mapping[str, int] = field(default_factory=dict)

    def text(self) -> str:
        """As in `3 accepted, 2 refused (1 forged, 1 replayed)`."""
        by_reason = ", ".join(f"{count} {reason}" for reason, count in sorted(self.refused.items()))
        return f"{self.accepted} accepted, {sum(self.refused.values())} refused" + (
            f" ({by_reason})" if by_reason else ""
        )


class Deliveries:
    """Judges deliveries against one secret, and counts them. Threads may share it.

    It remembers the ids of the deliveries that it accepted for as long as their time would pass, at most REMEMBERED of
    them; more than that within the window are refused, and change nothing: those before them have woken the loop.
    """

    def __init__(self, secret: str, clock: Callable[[], float] = time.time) -> None:
        self._secret = secret.encode()
        self._clock = clock
        self._lock = threading.Lock()
        self._counts: Counter[Verdict] = Counter()
        self._until: dict[str, float] = {}  # by delivery id, when its time has passed

    def judge(self, headers: Mapping[str, str], body: bytes) -> Verdict:
        """Judge and count a delivery. `headers` by name in lower case, decoded as Latin-1; `body` as received."""
        verdict = self._judged(headers, body)
        self.count(verdict)
        return verdict

    def count(self, verdict: Verdict) -> None:
        """Count a delivery that was judged by something else than its signature, such as its size."""
        with self._lock:
            self._counts[verdict] += 1

    def tally(self) -> Tally:
        """The counts since the start."""
        with self._lock:
            counts = dict(self._counts)
        accepted = counts.pop(Verdict.ACCEPTED, 0)
        return Tally(accepted, {verdict.words: count for verdict, count in counts.items()})

    def _judged(self, headers: Mapping[str, str], body: bytes) -> Verdict:
        delivery_id, sent = headers.get(_ID, ""), headers.get(_TIME, "")
        if not 0 < len(delivery_id) <= _LONGEST_ID or not (sent.isascii() and sent.isdigit() and len(sent) < 20):
            return Verdict.MALFORMED
        if not hmac.compare_digest(headers.get(_SIGNATURE, "").encode(), self._signature(delivery_id, sent, body)):
            return Verdict.FORGED
        now, until = self._clock(), int(sent) + WINDOW_S
        if abs(now - int(sent)) > WINDOW_S:
            return Verdict.OUT_OF_DATE
        with self._lock:
            if len(self._until) >= REMEMBERED:
                self._until = {each: end for each, end in self._until.items() if end >= now}
            if delivery_id in self._until:
                return Verdict.REPLAYED
            if len(self._until) >= REMEMBERED:
                return Verdict.CROWDED
            self._until[delivery_id] = until
        return Verdict.ACCEPTED

    def _signature(self, delivery_id: str, sent: str, body: bytes) -> bytes:
        signed = f"{delivery_id}.{sent}.".encode("latin-1", "replace") + body
        return b"v1," + base64.b64encode(hmac.digest(self._secret, signed, hashlib.sha256))


def webhook_secret() -> str:
    """The secret of SLIPWAY_WEBHOOK_SECRET, or a random one; InputError for one that can be guessed."""
    named = os.environ.get(SECRET_VARIABLE, "")
    if named and len(named) < _SHORTEST_SECRET:
        raise InputError(
            f"{SECRET_VARIABLE} has {len(named)} characters; expected {_SHORTEST_SECRET} or more, or none for a random "
            "one. Make one with: openssl rand -hex 32"
        )
    return named or secrets.token_urlsafe(32)
