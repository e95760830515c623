"""One prediction from its arrival to its answer: what it is counted by, who answered it, and what was run for it."""

import asyncio
import time
from collections.abc import Mapping, Sequence
from contextvars import ContextVar, Token
from types import TracebackType
from typing import TYPE_CHECKING, Any, NamedTuple, Self

from serving.model_server.callers import Caller
from serving.model_server.errors import ServingError
from serving.model_server.identity import NOBODY, Pairs, Served, identity_pairs
from serving.model_server.metrics import Metrics, RequestLabels, RowLabels, RunLabels
from serving.model_server.spans import Attributes, Interval, Trace
from serving.model_server.waiting import current_wait
from serving.request_ids import new_request_id
from serving.wire.status_pb2 import Code

if TYPE_CHECKING:
    import numpy as np

    Arrays = Mapping[str, "np.ndarray[Any, Any]"]


# UNAVAILABLE is none: it is said of a batch's queue that is full alone.
_SERVERS_OWN = {Code.UNKNOWN, Code.DEADLINE_EXCEEDED, Code.INTERNAL, Code.DATA_LOSS}


class Run(NamedTuple):
    """One run of a signature, and what it gave for the outputs asked for."""

    signature: str
    inputs: "Arrays"
    outputs: Sequence[str]
    found: "Arrays"


class Request:
    """To be entered when it arrives and left when it is answered, and counted then; `api` is REST or GRPC.

    served: the version that came to answer it. runs: those that did not fail; run_s: the time of all; run_failed:
    whether one failed. batched: whether its rows are run, and counted, with those of others. parts: for its trace, if
    it has one.
    """

    __slots__ = (
        "_api",
        "_id",
        "_method",
        "_metrics",
        "_started",
        "_token",
        "_trace",
        "batched",
        "caller",
        "code",
        "model",
        "parts",
        "run_failed",
        "run_s",
        "runs",
        "served",
        "signature",
    )

    def __init__(self, metrics: Metrics, api: str, method: str, model: str, caller: Caller | None = None) -> None:
        self._metrics = metrics
        self._api, self._method, self.model = api, method, model
        self._id = self.signature = ""
        self.caller = caller
        self.code: Code.ValueType = Code.OK
        self.served: Served | None = None
        self.runs: list[Run] = []
        self.run_s = 0.0
        self.run_failed = False
        self.batched = False
        self.parts: list[Interval] = []
        self._trace: Trace | None = None

    def __enter__(self) -> Self:
        self._metrics.arrived()
        self._token: Token[Request | None] = _CURRENT.set(self)
        self._started = time.perf_counter()
        tracing = self._metrics.tracing
        if tracing is not None:
            self._trace = tracing.begin(self._method, self.caller, self._begun_s())
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        took_s = self.took_s
        _CURRENT.reset(self._token)
        if error is not None:
            self.code = _code(error)
        served = self.served
        version, label, variant = (str(served.version), served.label, served.variant) if served else ("", "", "")
        labels = RequestLabels(self.model, version, label, self.signature, variant, self._api, self._method, self.code)
        self._metrics.answered(labels, took_s)
        if self._trace is not None:
            self._trace.end(self.parts, self._told(), Code.Name(self.code) if self.code in _SERVERS_OWN else "")

    @property
    def id(self) -> str:
        """The id of its answer, from when it is first asked for: after `served` is known, if it ever is."""
        if not self._id:
            served = self.served or NOBODY
            self._id = new_request_id(served.version, served.digest)
        return self._id

    @property
    def took_s(self) -> float:
        """Since it arrived."""
        return time.perf_counter() - self._started

    def pairs(self) -> Pairs:
        """What its answer, or its error, says of who gave it."""
        return identity_pairs(self.served or NOBODY, self.id)

    def ran(self, run: Run, took_s: float) -> None:
        """The version ran a signature for this request."""
        self.runs.append(run)
        rows = _rows(run)
        self._count(run.signature, took_s, 0 if self.batched else rows)
        if self._trace is not None:
            self._note("batch" if self.batched else "run", time.perf_counter() - took_s, rows)
            self._note_wait()

    def ran_in_batch(self, begun_s: float, rows: int) -> None:
        """A batch of so many rows, this one's among them, was run; by any thread."""
        if self._trace is not None:
            self._note("run", begun_s, rows)

    def failed(self, signature: str, took_s: float) -> None:
        """The version failed a signature for this request."""
        self.run_failed = True
        self._count(signature, took_s)

    def refused(self, signature: str) -> None:
        """A signature was not run for this request, since too many came."""
        self.signature = signature
        self._metrics.refused()

    @property
    def row_labels(self) -> RowLabels:
        """What a batch with its rows is counted by."""
        return RowLabels(self.model, str((self.served or NOBODY).version))

    def _begun_s(self) -> float:
        """When it was taken: a gRPC call waits for its thread before it comes here."""
        wait = current_wait()
        return self._started if wait is None else min(wait.since_s, self._started)

    def _note(self, name: str, begun_s: float, rows: int) -> None:
        self.parts.append(Interval(name, begun_s, time.perf_counter(), {"slipway.rows": rows}))

    def _note_wait(self) -> None:
        wait = current_wait()
        if wait is not None and not any(part.name == "queue" for part in self.parts):
            self.parts.append(Interval("queue", wait.since_s, wait.until_s, {}))

    def _told(self) -> Attributes:
        served = self.served or NOBODY
        return {
            "slipway.model": self.model,
            "slipway.version": served.version,
            "slipway.label": served.label,
            "slipway.variant": served.variant,
            "slipway.signature": self.signature,
            "slipway.request_id": self.id,
            "slipway.api": self._api,
            "slipway.status": Code.Name(self.code),
        }

    def _count(self, signature: str, took_s: float, rows: int = 0) -> None:
        self.signature = signature
        self.run_s += took_s
        served = self.served or NOBODY
        by = RunLabels(self.model, str(served.version), signature, served.variant, self._method)
        self._metrics.ran(by, took_s, rows)


def _rows(run: Run) -> int:
    """The rows of its first input; 0 for one that has none."""
    first = next(iter(run.inputs.values()), None)
    return len(first) if first is not None and first.ndim else 0


_CURRENT: ContextVar[Request | None] = ContextVar("request", default=None)


def current_request() -> Request | None:
    """The prediction that this thread, or task, is at work on; None in a load, a shadow, or a test."""
    return _CURRENT.get()


def _code(error: BaseException) -> Code.ValueType:
    if isinstance(error, ServingError):
        return error.code
    # asyncio.timeout ends a REST request this way; nothing else cancels one.
    return Code.DEADLINE_EXCEEDED if isinstance(error, asyncio.CancelledError) else Code.INTERNAL
