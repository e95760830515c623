"""What a request says of its client, for the split: a header's value, and the address that it came from."""

import random
from collections.abc import Sequence
from typing import TYPE_CHECKING, Protocol
from urllib.parse import unquote

from serving.traffic import Traffic, position_of

if TYPE_CHECKING:
    import grpc


class Caller(Protocol):
    """A request's client."""

    def header(self, name: str) -> str:
        """The value of the header, or metadata, of that name in lower case; "" if there is none."""

    def address(self) -> str:
        """The address, without the port; "" if it has none."""


class RestCaller:
    """The client of an HTTP request. headers, client: as ASGI has them."""

    __slots__ = ("_client", "_headers")

    def __init__(self, headers: Sequence[tuple[bytes, bytes]], client: tuple[str, int] | None) -> None:
        self._headers = headers
        self._client = client

    def header(self, name: str) -> str:
        """See Caller."""
        wanted = name.encode()
        return next((value.decode("latin-1") for key, value in self._headers if key == wanted), "")

    def address(self) -> str:
        """See Caller."""
        return self._client[0] if self._client else ""


class GrpcCaller:
    """The client of a gRPC call."""

    __slots__ = ("_context",)

    def __init__(self, context: "grpc.ServicerContext") -> None:
        self._context = context

    def header(self, name: str) -> str:
        """See Caller."""
        found = next((value for key, value in self._context.invocation_metadata() if key == name), "")
        return found.decode("latin-1") if isinstance(found, bytes) else found

    def address(self) -> str:
        """See Caller. gRPC writes `ipv4:127.0.0.1:5000` and `ipv6:%5B::1%5D:5000`."""
        scheme, _, rest = self._context.peer().partition(":")
        return unquote(rest).rpartition(":")[0].strip("[]") if scheme in {"ipv4", "ipv6"} else ""


def position(model: str, traffic: Traffic, caller: Caller | None) -> float:
    """Where a request stands in the split, 0 to below 100: by its key if it has one, else at random."""
    key = "" if caller is None else client_of(traffic, caller)
    return position_of(model, key) if key else random.random() * 100


def client_of(traffic: Traffic, caller: Caller) -> str:
    """What the split knows a client by; "" if nothing."""
    found = caller.header(traffic.key_header) if traffic.key_header else ""
    return found or (caller.address() if traffic.key_address else "")
