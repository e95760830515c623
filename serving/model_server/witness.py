"""Golden requests that a version owes before unnamed requests reach it: whoever asks them, they are asked once.

What deploys a version asks it all of them, by its number. The server would ask the same again, which takes as long as
the deployment's own.
"""

import hashlib
import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np

from serving.model_server.pace import Pace, PacedRuntime
from serving.model_server.predict import predict
from serving.model_server.runtimes import Runtime
from serving.servable.golden import Asked, GoldenReport, GoldenRequests, are_right, check_golden
from serving.wire.meta_graph_pb2 import SignatureDef
from serving.wire.tensors import Array

_PIXELS, _ENCODED = "serving_default", "serving_bytes"
_INPUTS = {_PIXELS: "input", _ENCODED: "image_bytes"}
_BATCH = 8
_LOOK_S = 0.05

Key = tuple[str, bytes]  # a signature, and the digest of one row of its input


class Witness:
    """A runtime around a runtime, which sees which golden requests are answered right.

    refuse: given the report of those that are not, raises.
    """

    def __init__(
        self,
        inner: Runtime,
        golden: GoldenRequests,
        tolerance: float,
        refuse: Callable[[GoldenReport], None],
        pace: Pace,
    ) -> None:
        self._inner = inner
        self._owed: _Owed | None = _Owed(golden, tolerance)
        self._refuse = refuse
        self._pace = pace

    @property
    def signatures(self) -> Mapping[str, SignatureDef]:
        """The runtime's own."""
        return self._inner.signatures

    def run(self, signature: str, inputs: Mapping[str, Array], outputs: Sequence[str]) -> Mapping[str, Array]:
        """As the runtime's."""
        found = self._inner.run(signature, inputs, outputs)
        owed = self._owed
        if owed is not None and signature in _INPUTS and {"output", "class_id"} <= found.keys():
            owed.see(signature, inputs[_INPUTS[signature]], found)
        return found

    def close(self) -> None:
        """Close the runtime."""
        self._inner.close()

    def settle(self, patience_s: float) -> None:
        """Return when every golden request was answered right.

        Those that nobody asks are asked here, once nobody has asked any for `patience_s`.
        """
        owed = self._owed
        ask = partial(predict, PacedRuntime(self._inner, self._pace))
        while owed is not None and owed:
            if owed.unasked_s() < patience_s:
                time.sleep(_LOOK_S)
                continue
            # A batch would keep every core from requests.
            report = owed.ask_last(ask, 1 if self._pace.is_busy() else _BATCH)
            if not report.passed:
                self._refuse(report)
        self._owed = None


class _Owed:
    """The golden requests that were not answered right yet. `see` may be called from many threads."""

    def __init__(self, golden: GoldenRequests, tolerance: float) -> None:
        self._golden = golden
        self._tolerance = tolerance
        self._seen_at = time.monotonic()
        self._answers = {_PIXELS: golden.pixels_output, _ENCODED: golden.encoded_output}
        self._open: dict[Key, int] = {}  # to the picture's place
        for place, pixels in enumerate(golden.pixels):
            self._open[_key(_PIXELS, pixels.astype(np.float32))] = place
        for place, encoded in enumerate(golden.encoded):
            self._open[_key(_ENCODED, encoded)] = place

    def __len__(self) -> int:
        return len(self._open)

    def unasked_s(self) -> float:
        """For how long nobody else has asked any."""
        return time.monotonic() - self._seen_at

    def see(self, signature: str, rows: Array, found: Mapping[str, Array]) -> None:
        """Take off those that `found` answers right."""
        asked = [(index, key) for index, key in enumerate(_key(signature, row) for row in rows) if key in self._open]
        if not asked:
            return
        self._seen_at = time.monotonic()
        for index, key in asked:
            place = self._open.get(key)
            row = slice(index, index + 1)
            if place is not None and are_right(
                found["output"][row], found["class_id"][row], self._answers[signature][[place]], self._tolerance
            ):
                self._open.pop(key, None)

    def ask_last(self, ask: Callable[..., Mapping[str, Any]], count: int) -> GoldenReport:
        """Ask up to `count` of them, and take them off if all are right. The last: others begin with the first."""
        last = list(self._open.copy().items())[-count:]
        asked = Asked(
            pixels=[place for (signature, _), place in last if signature == _PIXELS],
            encoded=[place for (signature, _), place in last if signature == _ENCODED],
        )
        report = check_golden(self._golden, ask, self._tolerance, _BATCH, asked=asked)
        if report.passed:
            for key, _ in last:
                self._open.pop(key, None)
        return report


def _key(signature: str, row: "Array | bytes") -> Key:
    data = row if isinstance(row, bytes) else np.ascontiguousarray(row).tobytes()
    return signature, hashlib.blake2b(data, digest_size=16).digest()
