"""TensorFlow Serving's gRPC API, over our own definitions of its messages; needs no TensorFlow."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import cast

import grpc
import numpy as np

from serving.client.address import Address
from serving.client.answers import (
    INPUT,
    OUTPUTS,
    SIGNATURE,
    Answer,
    RejectedError,
    checked,
    missing_outputs,
    missing_signature,
)
from serving.client.credentials import denied, grpc_metadata, open_channel
from serving.client.http import one_line
from serving.wire.get_model_status_pb2 import GetModelStatusRequest, GetModelStatusResponse
from serving.wire.model_pb2 import ModelSpec
from serving.wire.predict_pb2 import PredictRequest, PredictResponse
from serving.wire.tensors import Array, to_numpy, to_proto
from slipway.errors import InputError, NotFoundError, UnavailableError

_UNLIMITED = -1
_TOO_LARGE = "larger than max"  # RESOURCE_EXHAUSTED by a server's limit on a message, not by its load
# Servers are called directly, as over HTTP: a proxy in the environment is not meant for them.
_OPTIONS = (
    ("grpc.max_send_message_length", _UNLIMITED),
    ("grpc.max_receive_message_length", _UNLIMITED),
    ("grpc.enable_http_proxy", 0),
)


class TensorFlowServingGrpc:
    """A Client over gRPC. Every answer names the version that gave it."""

    def __init__(
        self, address: Address, name: str, *, label: str | None, version: int | None, timeout_s: float
    ) -> None:
        self.name = name
        self.variant = ""  # that gave the newest answer; "" from a server that does not say
        self._address = address
        self._timeout_s = timeout_s
        self._spec = ModelSpec(name=name)
        if label is not None:
            self._spec.version_label = label
        if version is not None:
            self._spec.version.value = version
        self._channel = open_channel(address, _OPTIONS)
        self._predict = self._channel.unary_unary(
            "/tensorflow.serving.PredictionService/Predict",
            request_serializer=PredictRequest.SerializeToString,
            response_deserializer=PredictResponse.FromString,
        )
        try:
            self._check_known()
        except BaseException:
            self.close()
            raise

    def predict(self, images: Sequence[bytes]) -> list[Answer]:
        """See Client."""
        response = self._ask(SIGNATURE, {INPUT: np.array(images, dtype=object)})
        missing = [name for name in OUTPUTS if name not in response.outputs]
        if missing:
            raise missing_outputs(missing, str(self._address))
        outputs, class_ids, labels = (to_numpy(response.outputs[name]) for name in OUTPUTS)
        if not len(outputs) == len(class_ids) == len(labels) == len(images) or outputs.ndim != 2:
            raise InputError(
                f"{self._address}: expected {len(images)} predictions, got outputs of shape {outputs.shape}. "
                f"Serve a model whose signature {SIGNATURE!r} answers for each image by itself."
            )
        version = str(response.model_spec.version.value) if response.model_spec.HasField("version") else ""
        return [
            checked(Answer(label.decode(), int(class_id), tuple(output.tolist()), version), str(self._address))
            for output, class_id, label in zip(outputs, class_ids, labels, strict=True)
        ]

    def predict_tensors(self, signature: str, inputs: Mapping[str, Array]) -> Mapping[str, Array]:
        """Every output of any signature, for its inputs; strings are object arrays of `bytes`. Raises as `predict`."""
        return {name: to_numpy(tensor) for name, tensor in self._ask(signature, inputs).outputs.items()}

    def close(self) -> None:
        """See Client."""
        self._channel.close()

    def _ask(self, signature: str, inputs: Mapping[str, Array]) -> PredictResponse:
        request = PredictRequest()
        request.model_spec.CopyFrom(self._spec)
        request.model_spec.signature_name = signature
        for name, value in inputs.items():
            request.inputs[name].CopyFrom(to_proto(value, as_content=value.dtype != np.dtype(object)))
        with self._errors():
            response, call = self._predict.with_call(request, timeout=self._timeout_s, metadata=grpc_metadata())
        said = dict(call.trailing_metadata() or ()).get("x-slipway-variant", "")
        self.variant = said.decode() if isinstance(said, bytes) else said
        return response

    def _check_known(self) -> None:
        get_status = self._channel.unary_unary(
            "/tensorflow.serving.ModelService/GetModelStatus",
            request_serializer=GetModelStatusRequest.SerializeToString,
            response_deserializer=GetModelStatusResponse.FromString,
        )
        with self._errors():
            request = GetModelStatusRequest(model_spec=self._spec)
            get_status(request, timeout=self._timeout_s, metadata=grpc_metadata())

    @contextmanager
    def _errors(self) -> Iterator[None]:
        try:
            yield
        except grpc.RpcError as error:
            raise self._translated(cast("grpc.Call", error)) from error

    def _translated(self, call: grpc.Call) -> Exception:
        code, message = call.code(), one_line(call.details() or "")
        if code is grpc.StatusCode.NOT_FOUND or "Unrecognized servable version label" in message:
            return NotFoundError(
                f"{self._address}: {message}; expected model {self.name!r} and the version or label asked for to be "
                "loaded there. Look at the server's log for what is."
            )
        if code in {grpc.StatusCode.UNAUTHENTICATED, grpc.StatusCode.PERMISSION_DENIED}:
            return denied(self._address, message)
        if "Serving signature name" in message or code is grpc.StatusCode.FAILED_PRECONDITION:
            return missing_signature(self.name, str(self._address), message)
        if code in {grpc.StatusCode.INVALID_ARGUMENT, grpc.StatusCode.OUT_OF_RANGE} or _TOO_LARGE in message:
            return RejectedError(f"{self._address} refused it: {message}")
        if code is grpc.StatusCode.DEADLINE_EXCEEDED:
            return UnavailableError(
                f"{self._address} did not answer within {self._timeout_s:g} s; expected a model server. "
                "Look at its log and ask again."
            )
        return UnavailableError(
            f"{self._address}: no answer over gRPC ({code.name}: {message}); expected a model server's gRPC port. "
            "Start one with `slipway serve`, or pass another --address."
        )
