"""The gRPC server: where it listens, how it is set up, and which call answers which method."""

import logging
import socket
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import grpc
from google.protobuf.message import Message

from serving.model_server.access import Access
from serving.model_server.access_log import AccessLog
from serving.model_server.callers import GrpcCaller
from serving.model_server.errors import ServingError
from serving.model_server.grpc_access import GrpcDoor
from serving.model_server.grpc_admission import HEALTH_THREADS, PredictionThreads, RefuseOverload
from serving.model_server.grpc_api import GrpcApi
from serving.model_server.grpc_receiving import Receiving
from serving.model_server.health import Health, Send
from serving.model_server.request import Request as Prediction
from serving.wire.classification_pb2 import ClassificationRequest
from serving.wire.get_model_metadata_pb2 import GetModelMetadataRequest
from serving.wire.get_model_status_pb2 import GetModelStatusRequest
from serving.wire.health_pb2 import HealthCheckRequest, HealthCheckResponse, HealthListRequest
from serving.wire.inference_pb2 import MultiInferenceRequest
from serving.wire.model_management_pb2 import ReloadConfigRequest
from serving.wire.predict_pb2 import PredictRequest
from serving.wire.regression_pb2 import RegressionRequest
from serving.wire.status_pb2 import Code
from slipway.errors import UnavailableError

_PREDICTION_SERVICE = "tensorflow.serving.PredictionService"
_MODEL_SERVICE = "tensorflow.serving.ModelService"
_HEALTH_SERVICE = "grpc.health.v1.Health"
_PREDICTIONS = frozenset(
    f"/{_PREDICTION_SERVICE}/{method}" for method in ("Predict", "Classify", "Regress", "MultiInference")
)
_HEALTH_RECEIVE_S = 2.0  # a few bytes
_STATUS = {code.value[0]: code for code in grpc.StatusCode}
_LOG = logging.getLogger(__name__)

Request = TypeVar("Request", bound=Message)
Response = TypeVar("Response", bound=Message)


@dataclass(frozen=True)
class GrpcOptions:
    """How the server is set up.

    socket_path: a Unix socket to listen on as well.
    credentials: makes those of an address, for TLS on each; None is plain text.
    arguments: gRPC's own, after this server's.
    health: whether the health service is there.
    access: who may call what; None lets in everybody. log: what each call is written to, if anything.
    receive_s: the longest time that a call's request may take to come; health's have less.
    """

    socket_path: str = ""
    credentials: Callable[[], grpc.ServerCredentials] | None = None
    arguments: Sequence[tuple[str, str | int]] = ()
    health: bool = True
    access: Access | None = None
    log: AccessLog | None = None
    receive_s: float = 30.0


def make_grpc_server(api: GrpcApi, address: str, threads: int, options: GrpcOptions = GrpcOptions()) -> grpc.Server:
    """A server, not started, that listens on `address`, HOST:PORT unless it is empty, and on the options' socket.

    UnavailableError if it cannot, for the flag that names what is taken.
    """
    arguments = {
        "grpc.max_receive_message_length": -1,
        "grpc.max_send_message_length": -1,
        "grpc.so_reuseport": 0,  # a second server on the same port is a mistake, not a replica
        **dict(options.arguments),
    }
    server = grpc.server(
        PredictionThreads(threads, api.admission),
        interceptors=[*_door(options), RefuseOverload(api.admission, _PREDICTIONS)],
        options=list(arguments.items()),
    )
    server.add_generic_rpc_handlers(
        tuple(
            grpc.method_handlers_generic_handler(service, methods)
            for service, methods in _services(api, options).items()
        )
    )
    if address:
        _listen(
            server, address, options.credentials, f"--port={address.rpartition(':')[2]}: cannot listen on {address}"
        )
    if options.socket_path:
        _check_free(options.socket_path)
        path = Path(options.socket_path).absolute()
        _listen(server, f"unix:{path}", options.credentials, f"--grpc_socket_path={options.socket_path}: cannot listen")
    return server


def _door(options: GrpcOptions) -> list[GrpcDoor]:
    """Nothing where nothing is asked of callers: it would cost each call some microseconds."""
    return [GrpcDoor(options.access, options.log)] if options.access is not None or options.log is not None else []


def _services(api: GrpcApi, options: GrpcOptions) -> dict[str, dict[str, Any]]:
    receiving = Receiving(options.receive_s)
    services = {
        _PREDICTION_SERVICE: {
            "Predict": _prediction(receiving, api, "Predict", api.predict, PredictRequest),
            "Classify": _prediction(receiving, api, "Classify", api.classify, ClassificationRequest),
            "Regress": _prediction(receiving, api, "Regress", api.regress, RegressionRequest),
            "MultiInference": _prediction(receiving, api, "MultiInference", api.multi_inference, MultiInferenceRequest),
            "GetModelMetadata": _method(receiving, api.get_model_metadata, GetModelMetadataRequest),
        },
        _MODEL_SERVICE: {
            "GetModelStatus": _method(receiving, api.get_model_status, GetModelStatusRequest),
            "HandleReloadConfigRequest": _method(receiving, api.reload_config, ReloadConfigRequest),
        },
    }
    if options.health:
        health = Health(api.models, api.draining, ("", *services))
        # Fewer than its threads: one is always free for a client that does not stall.
        soon = Receiving(min(_HEALTH_RECEIVE_S, options.receive_s), most=HEALTH_THREADS * 3 // 4)
        services[_HEALTH_SERVICE] = {
            "Check": _method(soon, health.check, HealthCheckRequest),
            "List": _method(soon, health.list, HealthListRequest),
            "Watch": _watch(soon, health),
        }
    return services


def _prediction(
    receiving: Receiving, api: GrpcApi, method: str, call: Callable[[Request], Response], request_type: type[Request]
) -> Any:
    def behave(request: Request, context: grpc.ServicerContext) -> Response:
        prediction = Prediction(api.metrics, "GRPC", method, _model_name(request), GrpcCaller(context))
        with _aborting(context, prediction):
            try:
                with prediction:
                    _check_deadline(context)
                    return call(request)
            finally:
                # Not as initial metadata: that is a message of its own, and a fifth of a small answer's time.
                context.set_trailing_metadata(tuple(prediction.pairs()))

    return _handler(receiving, behave, request_type)


def _model_name(request: Any) -> str:
    if isinstance(request, MultiInferenceRequest):
        return request.tasks[0].model_spec.name if request.tasks else ""
    return str(request.model_spec.name)


def _method(receiving: Receiving, call: Callable[[Request], Response], request_type: type[Request]) -> Any:
    def behave(request: Request, context: grpc.ServicerContext) -> Response:
        with _aborting(context):
            _check_deadline(context)
            return call(request)

    return _handler(receiving, behave, request_type)


@contextmanager
def _aborting(context: grpc.ServicerContext, prediction: Prediction | None = None) -> Iterator[None]:
    """End the call, a prediction's if it is one, as the error says that the block ends by."""
    try:
        yield
    except ServingError as error:
        context.abort(_STATUS[error.code], error.message)
    except Exception as error:  # noqa: BLE001  a call's failure is its own; the server goes on
        _LOG.exception("a call failed in a way that was not foreseen", extra={"prediction": prediction})
        context.abort(grpc.StatusCode.INTERNAL, f"{type(error).__name__}: see the server's log.")


def _handler(
    receiving: Receiving, behave: Callable[[Request, grpc.ServicerContext], Response], request_type: type[Request]
) -> Any:
    return grpc.stream_unary_rpc_method_handler(
        receiving.one(behave), request_deserializer=request_type.FromString, response_serializer=_serialized
    )


def _watch(receiving: Receiving, health: Health) -> Any:
    def behave(requests: Iterator[HealthCheckRequest], context: grpc.ServicerContext, send: Send) -> None:
        def send_soon(reply: HealthCheckResponse | None) -> None:
            with receiving.waiting(context):
                send(reply)

        health.watch(receiving.first(requests, context), context, send_soon)

    # What grpcio-health-checking does too: the stream outlives the call, and no thread waits for its end.
    behave.experimental_non_blocking = True  # type: ignore[attr-defined]
    return grpc.stream_stream_rpc_method_handler(
        behave, request_deserializer=HealthCheckRequest.FromString, response_serializer=_serialized
    )


def _check_deadline(context: grpc.ServicerContext) -> None:
    """A request that waited for a thread until nobody waits for its answer is not run."""
    remaining_s = context.time_remaining()
    if remaining_s is not None and remaining_s <= 0:
        raise ServingError(Code.DEADLINE_EXCEEDED, "The deadline passed before the request was run.")
    if not context.is_active():
        raise ServingError(Code.CANCELLED, "The client went away before the request was run.")


def _serialized(reply: Message) -> bytes:
    return reply.SerializeToString()


def _listen(
    server: grpc.Server, address: str, credentials: Callable[[], grpc.ServerCredentials] | None, failure: str
) -> None:
    try:
        if credentials is None:
            server.add_insecure_port(address)
        else:
            server.add_secure_port(address, credentials())
    except RuntimeError as error:
        raise UnavailableError(f"{failure} (it cannot be bound). Stop what uses it, or give another one.") from error


def _check_free(socket_path: str) -> None:
    """UnavailableError if a server answers there: gRPC would take its socket away. What a dead one left is replaced."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as client:
        try:
            client.connect(socket_path)
        except OSError:
            return
    raise UnavailableError(
        f"--grpc_socket_path={socket_path}: another server listens there. Stop it, or give another path."
    )
