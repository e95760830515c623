"""Nothing is live until it has answered: ask a published version its golden requests, on the server that will serve it.

Where there is no such server, one is started for it alone.
"""

import contextlib
import socket
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from pipeline.reconcile.serving import RefusedError, Verified
from registry.client import ModelVersion
from registry.signing import registered_digest
from serving.client.server_status import ServerStatus
from serving.model_config import LABELS_CONFIG, Wanted, labels_config
from serving.servable.golden import GOLDEN_FILE, GoldenReport, check_golden, load_golden, with_answers
from serving.servable.layout import GOLDEN, MANIFEST, REFERENCE_VARIANT, published_path, variant_path
from serving.servable.manifest import Manifest, read_manifest
from serving.servable.verification import verify_published
from serving.stores import Store
from slipway.errors import InputError, IntegrityError
from slipway.files import sha256_file

if TYPE_CHECKING:
    from pipeline.data import Record
    from serving.client import Prediction
    from serving.targets import ServeSpec
    from serving.wire.tensors import Array

_TIMEOUT_S = 120.0
_STATUS_S = 5.0
_IN_FLIGHT = 4
_BATCH = 8


@dataclass(frozen=True)
class Verification:
    """What a served version answered: its golden requests, and one held-out picture."""

    golden: GoldenReport
    picture: Path
    truth: int  # the picture's class
    prediction: "Prediction"


def verification(verified: Verified, record: "Record") -> Verification:
    """What `main` prints of a version that was asked about the picture of `record`."""
    assert verified.prediction is not None
    return Verification(verified.golden, record.file, record.class_id, verified.prediction)


def verify_alone(version: ModelVersion, store: Store, log: Path, picture: Path | None = None) -> Verified:
    """Serve a published version by itself, on two free ports, and ask it.

    RefusedError if it does not answer right, or is not the one that was registered: what is run here is what was sealed
    and, where that is asked for, signed.
    """
    with store.directory(version.name, version.version) as directory:
        try:
            verify_published(directory, registered_digest(version))
        except IntegrityError as error:
            raise RefusedError(str(error)) from error
        with _alone(version, directory, log) as address:
            return verify_at(address, version, store, picture=picture)


def verify_at(
    address: str, version: ModelVersion, store: Store, listed_as: str | None = None, picture: Path | None = None
) -> Verified:
    """Ask the server at the gRPC `address`, by the version's number; RefusedError if it answers otherwise.

    listed_as: the model as which the server has the version; its own name if not given.
    picture: an image to ask about besides.
    """
    from serving.client import predict_files
    from serving.client.address import parse_address
    from serving.client.tensorflow_serving_grpc import TensorFlowServingGrpc

    began = time.monotonic()
    try:
        report = ask_golden(address, version, store, listed_as)
    except (IntegrityError, InputError) as error:  # InputError: the server cannot run it at all
        raise RefusedError(str(error)) from error
    prediction = None
    if picture is not None:
        client = TensorFlowServingGrpc(
            parse_address(address), listed_as or version.name, label=None, version=version.version, timeout_s=_TIMEOUT_S
        )
        with contextlib.closing(client):
            prediction = next(iter(predict_files(client, [picture])))
    return Verified(report, (address,), time.monotonic() - began, prediction)


def ask_golden(address: str, version: ModelVersion, store: Store, listed_as: str | None = None) -> GoldenReport:
    """Send a published version's golden requests to the gRPC `address`.

    IntegrityError if they are answered otherwise, or are not those that were registered. gRPC, since they hold pixels,
    which JSON would make ten times larger. A server that says which variant answers is held to that variant's own
    answers, any other one to the trained network's.
    """
    from serving.client.address import parse_address
    from serving.client.tensorflow_serving_grpc import TensorFlowServingGrpc

    def connected() -> AbstractContextManager[Answering]:
        name, number = listed_as or version.name, version.version
        return contextlib.closing(
            TensorFlowServingGrpc(parse_address(address), name, label=None, version=number, timeout_s=_TIMEOUT_S)
        )

    return compare_golden(connected, address, version, store, Pace(_BATCH, _IN_FLIGHT))


class Answering(Protocol):
    """A connection to a version. variant: of the newest answer; "" from a server that does not say."""

    variant: str

    def predict_tensors(self, signature: str, inputs: "Mapping[str, Array]") -> "Mapping[str, Array]":
        """See Predict of golden requests."""
        ...


@dataclass(frozen=True)
class Pace:
    """How many requests go at once: in one call, and in how many calls."""

    batch: int
    in_flight: int


def compare_golden(
    connected: Callable[[], AbstractContextManager[Answering]],
    address: str,
    version: ModelVersion,
    store: Store,
    pace: Pace,
) -> GoldenReport:
    """Ask a published version's golden requests; errors as those of `ask_golden`.

    connected: connects to the version; called once they are known to be those that were registered.
    """
    with contextlib.ExitStack() as stack:
        only_golden = store.directory(version.name, version.version, lambda path: path.endswith(GOLDEN_FILE))
        published = stack.enter_context(only_golden)
        manifest = _registered_manifest(published, version)
        golden = load_golden(published / published_path(GOLDEN))
        server = stack.enter_context(connected())
        server.predict_tensors("serving_default", {"input": golden.pixels[:1].astype("float32")})
        variant = server.variant if server.variant in manifest.variants else REFERENCE_VARIANT
        if variant != REFERENCE_VARIANT:
            golden = with_answers(golden, published / published_path(variant_path(variant)))
        tolerance = manifest.variants[variant].tolerance
        report = check_golden(golden, server.predict_tensors, tolerance, pace.batch, pace.in_flight)
    if not report.passed:
        raise IntegrityError(f"version {version.version} on {address} answers otherwise: {report.summary()}")
    return report


def _registered_manifest(published: Path, version: ModelVersion) -> Manifest:
    """The manifest in a directory with a version's golden requests; IntegrityError unless all are as registered."""
    file = published / published_path(MANIFEST)
    manifest = read_manifest(file)
    sealed = {file: registered_digest(version)} | {
        published / published_path(path): entry.sha256
        for path, entry in manifest.files.items()
        if path.endswith(GOLDEN_FILE)
    }
    for each, expected in sealed.items():
        if (digest := sha256_file(each)) != expected:
            raise IntegrityError(
                f"{version.name} version {version.version}: published file {each.name} has sha256 {digest}; expected "
                f"{expected}, as it was registered. Move the version away and publish it again."
            )
    return manifest


@contextlib.contextmanager
def _alone(version: ModelVersion, directory: Path, log: Path) -> Iterator[str]:
    """The gRPC address of an embedded server that has the version in `directory` and nothing else."""
    from serving.targets import ServeSpec
    from serving.targets.process import start

    rest, grpc = free_ports()
    with tempfile.TemporaryDirectory(prefix="slipway-verify-") as scratch:
        config = labels_config(None, version.name, str(directory.parent), Wanted(version.version))
        assert config is not None
        Path(scratch, LABELS_CONFIG).write_bytes(config)
        spec = ServeSpec(name=version.name, base=Path(scratch), rest_port=rest, grpc_port=grpc)
        log.parent.mkdir(parents=True, exist_ok=True)
        with start(_LoadedOrFailed(), spec, log=log) as server:
            with contextlib.closing(ServerStatus(server.addresses.grpc, _STATUS_S)) as status:
                state = status.versions(version.name)[version.version]
            if not state.is_available:
                raise RefusedError(f"a server of its own cannot load it: {state.error}")
            yield server.addresses.grpc


class _LoadedOrFailed:
    """The embedded server, which counts as ready when the version has failed, too."""

    def __init__(self) -> None:
        from serving.targets.embedded import Embedded

        target = Embedded()
        self.command, self.addresses, self._state = target.command, target.addresses, target.state

    def state(self, spec: "ServeSpec") -> tuple[bool, str]:
        """See Target."""
        ready, words = self._state(spec)
        return ready or " END " in words, words


def free_ports() -> tuple[int, int]:
    """Two ports of this machine that nothing listens on just now."""
    with socket.create_server(("127.0.0.1", 0)) as one, socket.create_server(("127.0.0.1", 0)) as other:
        return one.getsockname()[1], other.getsockname()[1]
