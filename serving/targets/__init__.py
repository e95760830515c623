"""What can serve a published model: one file and one row for each, behind a Protocol of three methods.

A target says which process to start and whether it is ready; `serving.targets.process` starts and ends it.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib import import_module
from ipaddress import ip_address
from pathlib import Path
from typing import Protocol, cast

from serving.targets.telemetry import Telemetry
from slipway.errors import InputError
from slipway.names import check_model_name

TARGETS: Mapping[str, str] = {
    "embedded": "serving.targets.embedded:Embedded",
    "tensorflow_model_server": "serving.targets.tensorflow_model_server:TensorFlowModelServer",
    "mlflow": "serving.targets.mlflow:Mlflow",
}


@dataclass(frozen=True)
class ServeSpec:
    """What to serve, and where.

    base: the folder that versions are published to; it holds `models.config` and `labels.config`.
    host: the address to listen on; a target that cannot choose says so in its docstring.
    model_directory: a verified local copy of a version's MLflow model; the target `mlflow` serves that, and no base.
    tls: whether `extra_args` have the server speak TLS.
    telemetry: what is to be seen of it; a target that cannot show it refuses.
    extra_args: passed to the server as they are, after our own.
    """

    name: str
    base: Path
    rest_port: int = 8501
    grpc_port: int = 8500
    host: str = "127.0.0.1"
    model_directory: Path | None = None
    extra_args: tuple[str, ...] = ()
    tls: bool = False
    telemetry: Telemetry = field(default_factory=Telemetry)

    def __post_init__(self) -> None:
        check_model_name(self.name)
        for flag, port in (("--rest-port", self.rest_port), ("--grpc-port", self.grpc_port)):
            if not 1 <= port <= 65535:
                raise InputError(f"{flag} {port}: expected a port from 1 to 65535. Pass another {flag}.")
        if self.rest_port == self.grpc_port:
            raise InputError(f"--rest-port and --grpc-port are both {self.rest_port}; expected two ports. Change one.")


@dataclass(frozen=True)
class Command:
    """The process to start: its arguments, and what it has in its environment beyond ours."""

    argv: tuple[str, ...]
    environment: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Addresses:
    """Where a client reaches the model; grpc is "" where the target has none."""

    rest: str
    grpc: str = ""

    def __str__(self) -> str:
        return ", ".join(address for address in (self.rest, self.grpc) if address)


class Target(Protocol):
    """Something that serves models in a process of its own."""

    def command(self, spec: ServeSpec) -> Command:
        """Return the process that serves `spec`; InputError if this machine or `spec` lacks what it needs."""
        ...

    def addresses(self, spec: ServeSpec) -> Addresses:
        """Return where clients on this machine reach it."""
        ...

    def state(self, spec: ServeSpec) -> tuple[bool, str]:
        """Whether it answers predictions now, and its state in words; UnavailableError if it does not answer at all."""
        ...


def open_target(name: str) -> Target:
    """Return the target of that name; InputError lists the known ones."""
    if name not in TARGETS:
        raise InputError(f"target {name!r} is unknown; expected one of {', '.join(TARGETS)}. Pass another --target.")
    module, _, member = TARGETS[name].partition(":")
    return cast("Target", getattr(import_module(module), member)())


def reachable(host: str) -> str:
    """Return the host by which this machine reaches a server that listens on `host`, in brackets if it is IPv6."""
    try:
        address = ip_address(host)
    except ValueError:  # a name
        return host
    if address.is_unspecified:
        host = "::1" if address.version == 6 else "127.0.0.1"
    return f"[{host}]" if address.version == 6 else host
