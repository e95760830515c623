"""What a gRPC call waits for, within a time: a client that stalls would keep a thread for as long as it likes.

A unary method's request is received by gRPC before our code is called, without a limit of time. So to gRPC the methods
are ones of a stream of requests, of which the first is read here; clients see no difference.
"""

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TypeVar

import grpc

_LOOK_S = 1.0

Request = TypeVar("Request")
Response = TypeVar("Response")


class Receiving:
    """Ends calls whose client has stalled for `longest_s`. Every method may be called from any thread.

    most: calls that may wait for their clients at a time; one more ends the one that has waited longest. None is no
    limit.
    """

    def __init__(self, longest_s: float, most: int | None = None) -> None:
        self._longest_s = longest_s
        self._most = most
        self._lock = threading.Lock()
        self._waiting: dict[int, tuple[float, grpc.ServicerContext]] = {}  # by call, in the order of their ends
        self._looking: threading.Thread | None = None

    def one(self, behave: Callable[[Request, grpc.ServicerContext], Response]) -> Callable[..., Response]:
        """A behaviour for a stream of requests that gives its first one to `behave`."""

        def receive(requests: Iterator[Request], context: grpc.ServicerContext) -> Response:
            return behave(self.first(requests, context), context)

        return receive

    def first(self, requests: Iterator[Request], context: grpc.ServicerContext) -> Request:
        """The call's request; the call ends if there is none."""
        with self.waiting(context):
            request = next(requests, None)
        if request is None:
            context.abort(grpc.StatusCode.UNIMPLEMENTED, "The method requires exactly one request message.")
        return request

    @contextmanager
    def waiting(self, context: grpc.ServicerContext) -> Iterator[None]:
        """The block waits for the call's client."""
        crowded = None
        with self._lock:
            if self._most is not None and len(self._waiting) >= self._most:
                _, crowded = self._waiting.pop(next(iter(self._waiting)))
            self._waiting[id(context)] = (time.monotonic() + self._longest_s, context)
            if self._looking is None:
                self._looking = threading.Thread(target=self._look, name="grpc-receiving", daemon=True)
                self._looking.start()
        if crowded is not None:
            crowded.cancel()
        try:
            yield
        finally:
            with self._lock:
                self._waiting.pop(id(context), None)

    def _look(self) -> None:
        while True:
            time.sleep(min(_LOOK_S, self._longest_s))
            now = time.monotonic()
            with self._lock:
                late = [context for end, context in self._waiting.values() if end <= now]
            for context in late:
                context.cancel()
