"""TensorFlow Serving's gRPC services, and the standard health service, on our own wire messages.

Synchronous, on a pool of threads: a request is decoded, run and encoded on the thread that took it, and so a large
tensor never keeps the REST API's event loop waiting.
"""

import logging
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, TypeVar

import grpc
from google.protobuf.any_pb2 import Any as AnyMessage
from google.protobuf.message import Message

from serving.model_server.config import settings_of
from serving.model_server.errors import ServingError, invalid_argument
from serving.model_server.json_response import signature_map
from serving.model_server.models import Models
from serving.model_server.predict import DEFAULT_SIGNATURE, predict
from serving.wire.get_model_metadata_pb2 import GetModelMetadataRequest, GetModelMetadataResponse
from serving.wire.get_model_status_pb2 import GetModelStatusRequest, GetModelStatusResponse
from serving.wire.health_pb2 import HealthCheckRequest, HealthCheckResponse
from serving.wire.model_management_pb2 import ReloadConfigRequest, ReloadConfigResponse
from serving.wire.predict_pb2 import PredictRequest, PredictResponse
from serving.wire.status_pb2 import Code
from serving.wire.tensors import Array, to_numpy, to_proto
from slipway.errors import InputError

_PREDICTION_SERVICE = "tensorflow.serving.PredictionService"
_MODEL_SERVICE = "tensorflow.serving.ModelService"
_HEALTH_SERVICE = "grpc.health.v1.Health"
_SIGNATURE_DEF = "signature_def"
_STATUS = {code.value[0]: code for code in grpc.StatusCode}
_LOG = logging.getLogger(__name__)

Request = TypeVar("Request", bound=Message)
Response = TypeVar("Response", bound=Message)


@dataclass(frozen=True)
class GrpcApi:
    """The calls. `draining` says that the server is about to stop, and so not ready."""

    models: Models
    draining: Callable[[], bool] = lambda: False

    def predict(self, request: PredictRequest) -> PredictResponse:
        """PredictionService.Predict."""
        _require_spec(request)
        inputs = {name: _tensor(name, tensor) for name, tensor in request.inputs.items()}
        with self.models.acquire(request.model_spec) as lease:
            signature_name = request.model_spec.signature_name or DEFAULT_SIGNATURE
            outputs = predict(lease.runtime, signature_name, inputs, request.output_filter)
            response = PredictResponse()
            response.model_spec.name = lease.model
            response.model_spec.version.value = lease.number
            response.model_spec.signature_name = signature_name
            for name, array in outputs.items():
                response.outputs[name].CopyFrom(to_proto(array))
            return response

    def get_model_metadata(self, request: GetModelMetadataRequest) -> GetModelMetadataResponse:
        """PredictionService.GetModelMetadata: the signatures."""
        _require_spec(request)
        if not request.metadata_field:
            raise invalid_argument("GetModelMetadataRequest must specify at least one metadata_field")
        for metadata_field in request.metadata_field:
            if metadata_field != _SIGNATURE_DEF:
                raise invalid_argument(f"Metadata field {metadata_field} is not supported")
        with self.models.acquire(request.model_spec) as lease:
            response = GetModelMetadataResponse()
            response.model_spec.name = lease.model
            response.model_spec.version.value = lease.number
            packed = AnyMessage(
                type_url="type.googleapis.com/tensorflow.serving.SignatureDefMap",
                value=signature_map(lease.runtime.signatures).SerializeToString(),
            )
            response.metadata[_SIGNATURE_DEF].CopyFrom(packed)
            return response

    def get_model_status(self, request: GetModelStatusRequest) -> GetModelStatusResponse:
        """ModelService.GetModelStatus."""
        _require_spec(request)
        versions = self.models.versions(request.model_spec)
        return GetModelStatusResponse(model_version_status=[version.status() for version in versions])

    def reload_config(self, request: ReloadConfigRequest) -> ReloadConfigResponse:
        """ModelService.HandleReloadConfigRequest. As in TensorFlow Serving, the answer carries the same status."""
        if not request.config.HasField("model_config_list"):
            raise invalid_argument("ReloadConfigRequest: expected a config with a model_config_list")
        try:
            settings = settings_of(request.config)
        except InputError as error:
            raise invalid_argument(str(error)) from error
        self.models.reload(settings)
        response = ReloadConfigResponse()
        response.status.error_code = Code.OK
        return response

    def check_health(self, request: HealthCheckRequest) -> HealthCheckResponse:
        """Health.Check, of the server or of one of its services."""
        if request.service not in {"", _PREDICTION_SERVICE, _MODEL_SERVICE}:
            raise ServingError(Code.NOT_FOUND, f"service {request.service!r} is not served here")
        ready = self.models.ready() and not self.draining()
        status = HealthCheckResponse.SERVING if ready else HealthCheckResponse.NOT_SERVING
        return HealthCheckResponse(status=status)


def make_grpc_server(api: GrpcApi, address: str, threads: int) -> grpc.Server:
    """A server, not started, that listens on `address`; OSError if it cannot."""
    server = grpc.server(
        ThreadPoolExecutor(threads, thread_name_prefix="grpc"),
        options=[
            ("grpc.max_receive_message_length", -1),
            ("grpc.max_send_message_length", -1),
            ("grpc.so_reuseport", 0),  # a second server on the same port is a mistake, not a replica
        ],
    )
    prediction = {
        "Predict": _method(api.predict, PredictRequest),
        "GetModelMetadata": _method(api.get_model_metadata, GetModelMetadataRequest),
    }
    model = {
        "GetModelStatus": _method(api.get_model_status, GetModelStatusRequest),
        "HandleReloadConfigRequest": _method(api.reload_config, ReloadConfigRequest),
    }
    server.add_generic_rpc_handlers(
        (
            grpc.method_handlers_generic_handler(_PREDICTION_SERVICE, prediction),
            grpc.method_handlers_generic_handler(_MODEL_SERVICE, model),
            grpc.method_handlers_generic_handler(
                _HEALTH_SERVICE, {"Check": _method(api.check_health, HealthCheckRequest)}
            ),
        )
    )
    try:
        server.add_insecure_port(address)
    except RuntimeError as error:
        raise OSError(str(error)) from error
    return server


def _method(call: Callable[[Request], Response], request_type: type[Request]) -> Any:
    def behave(request: Request, context: grpc.ServicerContext) -> Response:
        try:
            return call(request)
        except ServingError as error:
            context.abort(_STATUS[error.code], error.message)
        except Exception as error:  # noqa: BLE001  a call's failure is its own; the server goes on
            _LOG.exception("a call failed in a way that was not foreseen")
            context.abort(grpc.StatusCode.INTERNAL, f"{type(error).__name__}: see the server's log.")

    return grpc.unary_unary_rpc_method_handler(
        behave,
        request_deserializer=request_type.FromString,
        response_serializer=lambda reply: reply.SerializeToString(),
    )


def _require_spec(request: PredictRequest | GetModelMetadataRequest | GetModelStatusRequest) -> None:
    if not request.HasField("model_spec"):
        raise invalid_argument("Missing ModelSpec")


def _tensor(name: str, tensor: Any) -> Array:
    try:
        return to_numpy(tensor)
    except InputError as error:
        raise invalid_argument(f"tensor parsing error: {name}: {error}") from error
