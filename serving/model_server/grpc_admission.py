"""Overload over gRPC: a prediction is refused on the thread that saw its headers, before its tensors are received."""

from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import grpc

from serving.model_server.admission import Admission
from serving.model_server.errors import ServingError
from serving.model_server.identity import NOBODY, identity_pairs
from serving.request_ids import new_request_id

_ASIDE_THREADS = 32  # for status, health, who watches it, and refusals: none of them waits for predictions


class PredictionThreads(ThreadPoolExecutor):
    """The threads that predictions run on; what is submitted counts as in flight until it is done."""

    def __init__(self, threads: int, admission: Admission) -> None:
        super().__init__(threads, thread_name_prefix="grpc")
        self._admission = admission

    def submit(self, fn: Callable[..., Any], /, *args: Any, **_kwargs: Any) -> "Future[Any]":
        """As an executor does; gRPC gives no keyword arguments."""
        return self._admission.submit(self, fn, *args)


class RefuseOverload(grpc.ServerInterceptor):  # type: ignore[misc]  # grpc gives no types
    """Sends predictions to the server's own threads, or refuses them; all else goes to threads of its own."""

    def __init__(self, admission: Admission, predictions: frozenset[str]) -> None:
        self._admission = admission
        self._predictions = predictions
        self._aside = ThreadPoolExecutor(_ASIDE_THREADS, thread_name_prefix="grpc-aside")

    def intercept_service(
        self, continuation: Callable[[grpc.HandlerCallDetails], Any], handler_call_details: grpc.HandlerCallDetails
    ) -> Any:
        """The method's own handler, or one that refuses without reading the request."""
        handler = continuation(handler_call_details)
        if handler is None:
            return None
        if handler_call_details.method not in self._predictions:
            return _on(self._aside, handler)
        try:
            self._admission.check()
        except ServingError as error:
            return _on(self._aside, _refusal(error.message))
        return handler


def _on(threads: ThreadPoolExecutor, handler: Any) -> Any:
    for behaviour in (handler.unary_unary, handler.unary_stream, handler.stream_unary):
        if behaviour is not None:
            behaviour.experimental_thread_pool = threads
    return handler


def _refusal(message: str) -> Any:
    def refuse(_requests: Iterator[Any], context: grpc.ServicerContext) -> None:
        context.set_trailing_metadata(tuple(identity_pairs(NOBODY, new_request_id(NOBODY.version, NOBODY.digest))))
        context.abort(grpc.StatusCode.RESOURCE_EXHAUSTED, message)

    # To the client one call like another; to gRPC one whose request need not be received before it is answered.
    return grpc.stream_unary_rpc_method_handler(refuse)
