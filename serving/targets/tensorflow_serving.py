"""What the targets share that speak TensorFlow Serving's protocols and read its configuration."""

from pathlib import Path

from serving.client.address import parse_address
from serving.client.http import Http
from serving.client.tensorflow_serving_rest import is_available
from serving.targets import Addresses, ServeSpec, reachable
from slipway.errors import InputError

_PROBE_TIMEOUT_S = 5.0


def addresses(spec: ServeSpec) -> Addresses:
    """REST and gRPC on the ports of `spec`."""
    host = reachable(spec.host)
    secure = "s" if spec.tls else ""
    return Addresses(f"http{secure}://{host}:{spec.rest_port}", f"grpc{secure}://{host}:{spec.grpc_port}")


def state(spec: ServeSpec, label: str | None = None) -> tuple[bool, str]:
    """Whether a version of the model (the one that bears `label`) is AVAILABLE, and the states of all in words."""
    with Http(parse_address(addresses(spec).rest), _PROBE_TIMEOUT_S) as http:
        return is_available(http, spec.name, label)


def config_file(spec: ServeSpec, name: str) -> Path:
    """Return the absolute path of a model config below the base; InputError if nothing was published there."""
    path = spec.base.absolute() / name
    if not path.is_file():
        raise InputError(
            f"{path} does not exist; expected the base path that versions are published to. "
            "Promote a version first (`slipway promote`), or pass another --base."
        )
    return path
