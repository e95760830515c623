"""Overload over gRPC: a prediction is refused on the thread that saw its headers, before its tensors are received."""

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import grpc

from serving.model_server.admission import Admission
from serving.model_server.errors import ServingError
from serving.model_server.identity import NOBODY, identity_pairs
from serving.request_ids import new_request_id

HEALTH = "/grpc.health.v1.Health/"
HEALTH_THREADS = 128  # its callers need no token: what they hold up is health alone
_ASIDE_THREADS = 32  # for status, metadata and refusals: none of them waits for predictions


class PredictionThreads(ThreadPoolExecutor):
    """The threads that predictions run on; what is submitted counts as in flight until it is done."""

    def __init__(self, threads: int, admission: Admission) -> None:
        super().__init__(threads, thread_name_prefix="grpc")
        self._admission = admission

    def submit(self, fn: Callable[..., Any], /, *args: Any, **_kwargs: Any) -> "Future[Any]":
        """As an executor does; gRPC gives no keyword arguments."""
        return self._admission.submit(self, fn, *args)


class RefuseOverload(grpc.ServerInterceptor):  # type: ignore[misc]  # grpc gives no types
    """Sends predictions to the server's own threads, or refuses them; health and all else go to others."""

    def __init__(self, admission: Admission, predictions: frozenset[str]) -> None:
        self._admission = admission
        self._predictions = predictions
        self._health = ThreadPoolExecutor(HEALTH_THREADS, thread_name_prefix="grpc-health")
        self._aside = ThreadPoolExecutor(_ASIDE_THREADS, thread_name_prefix="grpc-aside")

    def intercept_service(
        self, continuation: Callable[[grpc.HandlerCallDetails], Any], handler_call_details: grpc.HandlerCallDetails
    ) -> Any:
        """The method's own handler, or one that refuses without reading the request."""
        handler = continuation(handler_call_details)
        if handler is None:
            return None
        method: str = handler_call_details.method
        if method not in self._predictions:
            return _on(self._health if method.startswith(HEALTH) else self._aside, handler)
        try:
            self._admission.check()
        except ServingError as error:
            pairs = identity_pairs(NOBODY, new_request_id(NOBODY.version, NOBODY.digest))
            return refusal(grpc.StatusCode.RESOURCE_EXHAUSTED, error.message, pairs, self._aside)
        return handler


def _on(threads: ThreadPoolExecutor, handler: Any) -> Any:
    for behaviour in (handler.unary_unary, handler.stream_unary, handler.stream_stream):
        if behaviour is not None:
            behaviour.experimental_thread_pool = threads
    return handler


def refusal(code: grpc.StatusCode, message: str, pairs: Sequence[tuple[str, str]], threads: ThreadPoolExecutor) -> Any:
    """A handler, run on those threads, that ends a call without receiving its request. pairs: its trailing metadata."""

    def refuse(_requests: Iterator[Any], context: grpc.ServicerContext) -> None:
        context.set_trailing_metadata(tuple(pairs))
        context.abort(code, message)

    # To the client one call like another; to gRPC one whose request need not be received before it is answered.
    return _on(threads, grpc.stream_unary_rpc_method_handler(refuse))
