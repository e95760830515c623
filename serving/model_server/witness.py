"""Golden requests that a version owes before unnamed requests reach it: whoever asks them, they are asked once.

What deploys a version asks it all of them, by its number. The server would ask the same again, which takes as long as
the deployment's own.
"""

import hashlib
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any

import numpy as np

from serving.model_server.pace import Pace, PacedRuntime
from serving.model_server.predict import predict
from serving.model_server.runtimes import Runtime
from serving.servable.golden import Asked, GoldenReport, GoldenRequests, are_right, check_golden
from serving.wire.meta_graph_pb2 import SignatureDef
from serving.wire.tensors import Array
from slipway.errors import IntegrityError

_PIXELS, _ENCODED = "serving_default", "serving_bytes"
_INPUTS = {_PIXELS: "input", _ENCODED: "image_bytes"}
_BATCH = 8
_LOOK_S = 0.05

Key = tuple[str, bytes]  # a signature, and the digest of one row of its input


class Witness:
    """A runtime around a runtime, which sees which golden requests are answered right.

    refuse: given the report of those that are not, raises IntegrityError. asked: so many of the first of each
    signature were answered right before.
    """

    def __init__(
        self,
        inner: Runtime,
        golden: GoldenRequests,
        tolerance: float,
        refuse: Callable[[GoldenReport], None],
        pace: Pace,
        *,
        asked: int = 0,
    ) -> None:
        self._inner = inner
        self._owed: _Owed | None = _Owed(golden, tolerance, asked)
        self._refuse = refuse
        self._pace = pace

    @property
    def signatures(self) -> Mapping[str, SignatureDef]:
        """The runtime's own."""
        return self._inner.signatures

    def run(self, signature: str, inputs: Mapping[str, Array], outputs: Sequence[str]) -> Mapping[str, Array]:
        """As the runtime's."""
        owed = self._owed
        rows = None if owed is None else inputs.get(_INPUTS.get(signature, ""))
        if owed is None or rows is None:
            return self._inner.run(signature, inputs, outputs)
        with owed.asking(signature, rows) as asked:
            found = self._inner.run(signature, inputs, outputs)
            if {"output", "class_id"} <= found.keys():
                owed.see(asked, found)
        return found

    def close(self) -> None:
        """Close the runtime."""
        self._inner.close()

    def settle(self, patience_s: float, is_wanted: Callable[[], bool]) -> None:
        """Return when every golden request was answered right, or the version is no longer wanted.

        Those that nobody asks are asked here, once nobody has asked any for `patience_s`. IntegrityError for a wrong
        answer; after any other error it may be called again.
        """
        owed = self._owed
        try:
            while owed is not None and owed and is_wanted():
                if owed.unasked_s() < patience_s:
                    time.sleep(_LOOK_S)
                else:
                    self._ask_last(owed)
        except IntegrityError:
            self._owed = None
            raise
        self._owed = None

    def _ask_last(self, owed: "_Owed") -> None:
        # A batch would keep every core from requests.
        last = owed.last(1 if self._pace.is_busy() else _BATCH)
        if last:  # else others' answers took off what was left
            report = owed.ask(last, partial(predict, PacedRuntime(self._inner, self._pace)))
            if not report.passed:
                self._refuse(report)


class _Owed:
    """The golden requests that were not answered right yet. `asking` and `see` may be called from many threads."""

    def __init__(self, golden: GoldenRequests, tolerance: float, asked: int) -> None:
        self._golden = golden
        self._tolerance = tolerance
        self._lock = threading.Lock()
        self._in_flight = 0  # others' requests that hold some
        self._seen_at = time.monotonic()
        self._answers = {_PIXELS: golden.pixels_output, _ENCODED: golden.encoded_output}
        self._open: dict[Key, int] = {}  # to the picture's place
        for place, pixels in enumerate(golden.pixels[asked:], asked):
            self._open[_key(_PIXELS, pixels.astype(np.float32))] = place
        for place, encoded in enumerate(golden.encoded[asked:], asked):
            self._open[_key(_ENCODED, encoded)] = place

    def __len__(self) -> int:
        return len(self._open)

    def unasked_s(self) -> float:
        """For how long nobody else has asked any."""
        with self._lock:
            return 0.0 if self._in_flight else time.monotonic() - self._seen_at

    @contextmanager
    def asking(self, signature: str, rows: Array) -> Iterator[list[tuple[int, Key]]]:
        """Others ask those `rows` until the block ends: which of them are owed, each with its index."""
        asked = [(index, key) for index, key in enumerate(_key(signature, row) for row in rows) if key in self._open]
        if not asked:
            yield asked
            return
        with self._lock:
            self._in_flight += 1
        try:
            yield asked
        finally:
            with self._lock:
                self._in_flight -= 1
                self._seen_at = time.monotonic()

    def see(self, asked: list[tuple[int, Key]], found: Mapping[str, Array]) -> None:
        """Take off those of `asked` that `found` answers right."""
        for index, key in asked:
            place = self._open.get(key)
            row = slice(index, index + 1)
            if place is not None and are_right(
                found["output"][row], found["class_id"][row], self._answers[key[0]][[place]], self._tolerance
            ):
                self._open.pop(key, None)

    def last(self, count: int) -> list[tuple[Key, int]]:
        """Up to `count` of them, from the end: others begin with the first."""
        return list(self._open.copy().items())[-count:]

    def ask(self, last: list[tuple[Key, int]], ask: Callable[..., Mapping[str, Any]]) -> GoldenReport:
        """Ask them, and take them off if all are right."""
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
