"""Nothing is live until it has answered: start the server on what is published, and ask it."""

import socket
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import numpy as np
import numpy.typing as npt

from pipeline.config import Config
from registry.client import ModelVersion
from serving.servable.golden import GoldenReport, check_golden, load_golden
from slipway.errors import IntegrityError

if TYPE_CHECKING:
    from pipeline.data import Record
    from serving.client import Prediction


@dataclass(frozen=True)
class Verification:
    """What a served version answered: its golden requests, and one held-out picture."""

    golden: GoldenReport
    picture: Path
    truth: int  # the picture's class
    prediction: "Prediction"


def verify_served(config: Config, version: ModelVersion, record: "Record") -> Verification:
    """Serve what is live below `config.base` on two free ports, and ask it; IntegrityError if it errs."""
    from serving.client import connect, predict_files
    from serving.targets import ServeSpec, open_target
    from serving.targets.process import start

    base = Path(config.base).absolute()
    rest, grpc = _free_ports()
    spec = ServeSpec(name=version.name, base=base, rest_port=rest, grpc_port=grpc)
    log = Path(config.workdir) / "verify.log"
    log.parent.mkdir(parents=True, exist_ok=True)
    with start(open_target("embedded"), spec, log=log) as server:
        golden = ask_golden(server.addresses.rest, server.addresses.grpc, version, base)
        client = connect(server.addresses.rest, version.name)
        try:
            prediction = next(iter(predict_files(client, [record.file])))
        finally:
            client.close()
    if prediction.version not in ("", str(version.version)):
        raise IntegrityError(
            f"the server answered from version {prediction.version}; expected version {version.version}. "
            f"Look at {base / 'labels.config'}, and promote again."
        )
    return Verification(golden, record.file, record.class_id, prediction)


def ask_golden(rest: str, grpc: str, version: ModelVersion, base: Path) -> GoldenReport:
    """Send a published version's golden requests to a server, over gRPC, and hold the answers against the manifest."""
    from serving.servable.build import REFERENCE_VARIANT
    from serving.servable.layout import EXTRA
    from serving.servable.manifest import read_manifest

    extra = base / version.name / str(version.version) / EXTRA
    tolerance = read_manifest(extra / "manifest.json").variants[REFERENCE_VARIANT].tolerance
    with _GrpcPredict(grpc, version) as predict:
        report = check_golden(load_golden(extra / "golden"), predict, tolerance)
    if not report.passed:
        raise IntegrityError(
            f"{version.name} version {version.version} on {rest}: {report.summary()}. "
            "Roll back with `slipway rollback`, and look at the server's log."
        )
    return report


class _GrpcPredict:
    """Predict over gRPC: golden requests hold pixels, which JSON would make ten times larger."""

    def __init__(self, address: str, version: ModelVersion) -> None:
        import grpc

        from serving.wire.predict_pb2 import PredictRequest, PredictResponse

        self._version = version
        self._channel = grpc.insecure_channel(
            address.removeprefix("grpc://"),
            options=[("grpc.max_receive_message_length", -1), ("grpc.max_send_message_length", -1)],
        )
        self._call = self._channel.unary_unary(
            "/tensorflow.serving.PredictionService/Predict",
            request_serializer=PredictRequest.SerializeToString,
            response_deserializer=PredictResponse.FromString,
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._channel.close()

    def __call__(self, signature: str, inputs: Mapping[str, npt.NDArray[Any]]) -> Mapping[str, npt.NDArray[Any]]:
        from serving.wire.predict_pb2 import PredictRequest
        from serving.wire.tensors import to_numpy, to_proto

        request = PredictRequest()
        request.model_spec.name = self._version.name
        request.model_spec.version.value = self._version.version
        request.model_spec.signature_name = signature
        for name, value in inputs.items():
            request.inputs[name].CopyFrom(to_proto(value, as_content=value.dtype != np.dtype(object)))
        response = self._call(request, timeout=120)
        return {name: to_numpy(tensor) for name, tensor in response.outputs.items()}


def _free_ports() -> tuple[int, int]:
    with socket.create_server(("127.0.0.1", 0)) as one, socket.create_server(("127.0.0.1", 0)) as other:
        return one.getsockname()[1], other.getsockname()[1]
