"""The gRPC ports' doors: who is let in, and what is written of each call."""

import functools
import time
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import grpc

from serving.model_server.access import TO_CHANGE, TO_LOOK, TO_PREDICT, Access, DeniedError, Needed
from serving.model_server.access_log import AccessLog, Entry
from serving.model_server.callers import GrpcCaller
from serving.model_server.grpc_admission import HEALTH, refusal

_API = "GRPC"
_PREDICTION, _MODEL = "/tensorflow.serving.PredictionService/", "/tensorflow.serving.ModelService/"
_NEEDED: Mapping[str, Needed] = {
    **{f"{_PREDICTION}{method}": TO_PREDICT for method in ("Predict", "Classify", "Regress", "MultiInference")},
    f"{_PREDICTION}GetModelMetadata": TO_LOOK,
    f"{_MODEL}GetModelStatus": TO_LOOK,
}
_DENYING_THREADS = 4
_SHAPES = {
    "unary_unary": grpc.unary_unary_rpc_method_handler,
    "stream_unary": grpc.stream_unary_rpc_method_handler,
    "stream_stream": grpc.stream_stream_rpc_method_handler,
}


class GrpcDoor(grpc.ServerInterceptor):  # type: ignore[misc]  # grpc gives no types
    """Lets in who has a token for the method, on the thread that saw the call's headers, and writes of each call.

    access: None lets in everybody. log: None writes nothing. The health service needs no token; a method that is not
    listed here needs the scope admin.
    """

    def __init__(self, access: Access | None, log: AccessLog | None) -> None:
        self._access = access
        self._log = log
        self._threads = ThreadPoolExecutor(_DENYING_THREADS, thread_name_prefix="grpc-denied")

    def intercept_service(
        self, continuation: Callable[[grpc.HandlerCallDetails], Any], handler_call_details: grpc.HandlerCallDetails
    ) -> Any:
        """The method's own handler, or one that denies."""
        method: str = handler_call_details.method
        entry = Entry(_API, "", method)
        try:
            if self._access is not None and not method.startswith(HEALTH):
                authorization = _authorization(handler_call_details.invocation_metadata)
                entry.token = self._access.admit(_API, authorization, _NEEDED.get(method, TO_CHANGE))
            handler = continuation(handler_call_details)
        except DeniedError as error:
            entry.denied, entry.token = error.reason, error.token
            code = grpc.StatusCode.PERMISSION_DENIED if error.http_status == 403 else grpc.StatusCode.UNAUTHENTICATED
            handler = refusal(code, error.message, (("www-authenticate", error.challenge),), self._threads)
        return handler if self._log is None or handler is None else _logged(handler, entry, self._log)


def _authorization(metadata: Any) -> bytes:
    found = next((value for key, value in metadata or () if key == "authorization"), "")
    return found if isinstance(found, bytes) else found.encode()


def _logged(handler: Any, entry: Entry, log: AccessLog) -> Any:
    """The handler, which writes the call's entry when it ends; a stream's when it begins."""
    shape = next(shape for shape in _SHAPES if getattr(handler, shape) is not None)
    behave = getattr(handler, shape)

    @functools.wraps(behave)  # with what gRPC and the server have noted on it
    def behave_and_write(request: Any, context: grpc.ServicerContext, *more: Any) -> Any:
        started = time.perf_counter()
        entry.client = GrpcCaller(context).address()
        try:
            return behave(request, context, *more)
        except Exception:
            entry.status = "UNKNOWN"  # unless the call was ended by what was raised
            raise
        finally:
            _see(entry, context)
            log.write(entry, time.perf_counter() - started)

    return _SHAPES[shape](behave_and_write, handler.request_deserializer, handler.response_serializer)


def _see(entry: Entry, context: Any) -> None:
    code = context.code()
    if code is not None:
        entry.status = code.name
    elif not entry.status:
        entry.status = "OK" if context.is_active() else "CANCELLED"
    said = dict(context.trailing_metadata() or ())
    entry.request_id, entry.version = said.get("x-slipway-request-id", ""), said.get("x-slipway-version", "")
