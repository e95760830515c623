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
from serving.model_server.metrics import Metrics, RequestLabels, RunLabels
from serving.request_ids import new_request_id
from serving.wire.status_pb2 import Code

if TYPE_CHECKING:
    import numpy as np

    Arrays = Mapping[str, "np.ndarray[Any, Any]"]


class Run(NamedTuple):
    """One run of a signature, and what it gave for the outputs asked for."""

    signature: str
    inputs: "Arrays"
    outputs: Sequence[str]
    found: "Arrays"


class Request:
    """To be entered when it arrives and left when it is answered, and counted then; `api` is REST or GRPC.

    served: the version that came to answer it. runs: those that did not fail; run_s: the time of all; run_failed:
    whether one failed.
    """

    __slots__ = (
        "_api",
        "_id",
        "_method",
        "_metrics",
        "_model",
        "_started",
        "_token",
        "caller",
        "code",
        "run_failed",
        "run_s",
        "runs",
        "served",
        "signature",
    )

    def __init__(self, metrics: Metrics, api: str, method: str, model: str, caller: Caller | None = None) -> None:
        self._metrics = metrics
        self._api, self._method, self._model = api, method, model
        self._id = self.signature = ""
        self.caller = caller
        self.code: Code.ValueType = Code.OK
        self.served: Served | None = None
        self.runs: list[Run] = []
        self.run_s = 0.0
        self.run_failed = False

    def __enter__(self) -> Self:
        self._metrics.arrived()
        self._token: Token[Request | None] = _CURRENT.set(self)
        self._started = time.perf_counter()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        took_s = self.took_s
        _CURRENT.reset(self._token)
        if error is not None:
            self.code = _code(error)
        version, variant = (str(self.served.version), self.served.variant) if self.served else ("", "")
        labels = RequestLabels(self._model, version, self.signature, variant, self._api, self._method, self.code)
        self._metrics.answered(labels, took_s)

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
        self._count(run.signature, took_s)

    def failed(self, signature: str, took_s: float) -> None:
        """The version failed a signature for this request."""
        self.run_failed = True
        self._count(signature, took_s)

    def _count(self, signature: str, took_s: float) -> None:
        self.signature = signature
        self.run_s += took_s
        served = self.served or NOBODY
        self._metrics.ran(RunLabels(self._model, str(served.version), signature, served.variant, self._method), took_s)


_CURRENT: ContextVar[Request | None] = ContextVar("request", default=None)


def current_request() -> Request | None:
    """The prediction that this thread, or task, is at work on; None in a load, a shadow, or a test."""
    return _CURRENT.get()


def _code(error: BaseException) -> Code.ValueType:
    if isinstance(error, ServingError):
        return error.code
    # asyncio.timeout ends a REST request this way; nothing else cancels one.
    return Code.DEADLINE_EXCEEDED if isinstance(error, asyncio.CancelledError) else Code.INTERNAL
