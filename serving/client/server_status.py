"""What a model server says of the versions that it holds, over gRPC: TensorFlow Serving's GetModelStatus."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import cast

import grpc

from serving.client.address import parse_address
from serving.client.credentials import denied, grpc_metadata, open_channel
from serving.client.http import one_line
from serving.wire.get_model_status_pb2 import GetModelStatusRequest, GetModelStatusResponse, ModelVersionStatus
from serving.wire.model_pb2 import ModelSpec
from slipway.errors import InputError, NotFoundError, UnavailableError

# Servers are called directly: a proxy in the environment is not meant for them. One that was away is tried again soon.
_OPTIONS = (
    ("grpc.enable_http_proxy", 0),
    ("grpc.initial_reconnect_backoff_ms", 200),
    ("grpc.max_reconnect_backoff_ms", 500),
)
_AVAILABLE = "AVAILABLE"


class RefusedConnectionError(UnavailableError):
    """Nothing listens at the address: there is no server that could give a wrong answer."""


@dataclass(frozen=True)
class VersionState:
    """A version's state by TensorFlow Serving's name (START, LOADING, AVAILABLE, UNLOADING, END)."""

    state: str
    error: str  # why it is in this state; "" if nothing went wrong

    @property
    def is_available(self) -> bool:
        return self.state == _AVAILABLE


class ServerStatus:
    """Asks one server, at a gRPC address, about its models.

    Every call raises RefusedConnectionError when nothing listens there, and UnavailableError when there is no answer
    within `timeout_s`.
    """

    def __init__(self, address: str, timeout_s: float) -> None:
        self.address = address
        self._timeout_s = timeout_s
        where = parse_address(address)
        if not where.is_grpc:
            raise InputError(
                f"server {address!r}: expected a gRPC address, grpc://HOST:PORT or grpcs://HOST:PORT. Write it so."
            )
        self._channel = open_channel(where, _OPTIONS)
        self._get = self._channel.unary_unary(
            "/tensorflow.serving.ModelService/GetModelStatus",
            request_serializer=GetModelStatusRequest.SerializeToString,
            response_deserializer=GetModelStatusResponse.FromString,
        )

    def versions(self, name: str) -> Mapping[int, VersionState]:
        """The state of every version of a model that the server holds, or held; {} for a model unknown there."""
        try:
            return self._ask(ModelSpec(name=name))
        except NotFoundError:
            return {}

    def labelled(self, name: str, label: str) -> int | None:
        """The version that bears the label; None if none does."""
        try:
            return next(iter(self._ask(ModelSpec(name=name, version_label=label))), None)
        except NotFoundError:
            return None

    def close(self) -> None:
        """Let go of the connection."""
        self._channel.close()

    def _ask(self, spec: ModelSpec) -> Mapping[int, VersionState]:
        try:
            request = GetModelStatusRequest(model_spec=spec)
            response = self._get(request, timeout=self._timeout_s, metadata=grpc_metadata())
        except grpc.RpcError as error:
            raise self._translated(cast("grpc.Call", error)) from error
        return {
            int(status.version): VersionState(
                ModelVersionStatus.State.Name(status.state), one_line(status.status.error_message)
            )
            for status in response.model_version_status
        }

    def _translated(self, call: grpc.Call) -> Exception:
        code, message = call.code(), one_line(call.details() or "")
        if code is grpc.StatusCode.NOT_FOUND or "Unrecognized servable version label" in message:
            return NotFoundError(f"{self.address}: {message}")
        if code in {grpc.StatusCode.UNAUTHENTICATED, grpc.StatusCode.PERMISSION_DENIED}:
            return denied(self.address, message)
        if code is grpc.StatusCode.UNAVAILABLE and "refused" in message:
            return RefusedConnectionError(f"{self.address}: nothing listens there")
        if code is grpc.StatusCode.DEADLINE_EXCEEDED:
            return UnavailableError(
                f"{self.address} did not answer within {self._timeout_s:g} s; expected a model server's status. "
                "Look at its log; nothing is moved until it answers, or is ended."
            )
        return UnavailableError(
            f"{self.address}: {code.name}: {message}; expected a model server's status. Pass another --servers."
        )
