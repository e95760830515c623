"""Nothing is live until it has answered: start the server on what is published, and ask it."""

import contextlib
import socket
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from pipeline.config import Config
from registry.client import ModelVersion
from serving.model_config import LABELS_CONFIG, Wanted, labels_config
from serving.servable.golden import GoldenReport, check_golden, load_golden
from serving.servable.layout import GOLDEN, MANIFEST, REFERENCE_VARIANT, published_path
from serving.stores.local import local_path
from slipway.errors import IntegrityError

if TYPE_CHECKING:
    from pipeline.data import Record
    from serving.client import Prediction

_TIMEOUT_S = 120.0


@dataclass(frozen=True)
class Verification:
    """What a served version answered: its golden requests, and one held-out picture."""

    golden: GoldenReport
    picture: Path
    truth: int  # the picture's class
    prediction: "Prediction"


def verify_served(config: Config, version: ModelVersion, record: "Record") -> Verification:
    """Serve a published version by itself on two free ports, and ask it; IntegrityError if it errs."""
    from serving.client import connect, predict_files
    from serving.targets import ServeSpec, open_target
    from serving.targets.process import start

    base = local_path(config.base)
    rest, grpc = _free_ports()
    log = Path(config.workdir) / "verify.log"
    with tempfile.TemporaryDirectory(prefix="slipway-verify-") as scratch:
        alone = labels_config(None, version.name, str(base / version.name), Wanted(version.version))
        Path(scratch, LABELS_CONFIG).write_bytes(alone or b"")
        spec = ServeSpec(name=version.name, base=Path(scratch), rest_port=rest, grpc_port=grpc)
        with start(open_target("embedded"), spec, log=log) as server:
            golden = ask_golden(server.addresses.grpc, version, base)
            with contextlib.closing(connect(server.addresses.rest, version.name)) as client:
                prediction = next(iter(predict_files(client, [record.file])))
    return Verification(golden, record.file, record.class_id, prediction)


def ask_golden(address: str, version: ModelVersion, base: Path) -> GoldenReport:
    """Send a published version's golden requests to the gRPC `address`; IntegrityError if they are answered otherwise.

    gRPC, since golden requests hold pixels, which JSON would make ten times larger.
    """
    from serving.client.address import parse_address
    from serving.client.tensorflow_serving_grpc import TensorFlowServingGrpc
    from serving.servable.manifest import read_manifest

    published = base / version.name / str(version.version)
    tolerance = read_manifest(published / published_path(MANIFEST)).variants[REFERENCE_VARIANT].tolerance
    server = TensorFlowServingGrpc(
        parse_address(address), version.name, label=None, version=version.version, timeout_s=_TIMEOUT_S
    )
    with contextlib.closing(server):
        golden = load_golden(published / published_path(GOLDEN))
        report = check_golden(golden, server.predict_tensors, tolerance)
    if not report.passed:
        raise IntegrityError(
            f"{version.name} version {version.version} on {address}: {report.summary()}. "
            "Roll back with `slipway rollback`, and look at the server's log."
        )
    return report


def _free_ports() -> tuple[int, int]:
    with socket.create_server(("127.0.0.1", 0)) as one, socket.create_server(("127.0.0.1", 0)) as other:
        return one.getsockname()[1], other.getsockname()[1]
