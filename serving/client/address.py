"""Where a model server is, as people write it: `http://host:8501`, `grpc://host:8500`, `host:8501`."""

from dataclasses import dataclass
from urllib.parse import urlsplit

from slipway.errors import InputError

_STANDARD_PORTS = {"http": 80, "https": 443, "grpc": None}
_EXPECTED = "expected http://HOST:PORT, https://HOST:PORT, grpc://HOST:PORT or HOST:PORT"


@dataclass(frozen=True)
class Address:
    """scheme: http, https or grpc. path: what stands before `/v1/models` behind a proxy, without a final slash."""

    scheme: str
    host: str
    port: int
    path: str = ""

    @property
    def host_and_port(self) -> str:
        """`host:port`, with brackets around an IPv6 address."""
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"

    def __str__(self) -> str:
        return f"{self.scheme}://{self.host_and_port}{self.path}"


def parse_address(text: str) -> Address:
    """Read an address; InputError names what is wrong with it. Only http:// and https:// have a standard port."""
    has_scheme = "://" in text
    try:
        parts = urlsplit(text if has_scheme else f"http://{text}")
        port = parts.port or (_STANDARD_PORTS.get(parts.scheme) if has_scheme else None)
    except ValueError as error:
        raise InputError(f"address {text!r}: {error}; {_EXPECTED}.") from error
    if parts.username or parts.password:
        raise InputError(f"address of {parts.hostname!r} holds a user or password, which are not sent; {_EXPECTED}.")
    if parts.scheme not in _STANDARD_PORTS:
        raise InputError(f"address {text!r}: unknown scheme {parts.scheme!r}; {_EXPECTED}.")
    if not parts.hostname or not port:
        raise InputError(f"address {text!r}: no {'port' if parts.hostname else 'host'}; {_EXPECTED}.")
    path = parts.path.rstrip("/")
    if parts.query or parts.fragment or "/v1/models" in path or (parts.scheme == "grpc" and path):
        raise InputError(f"address {text!r} goes on after the port; {_EXPECTED}. The model's name goes to --name.")
    return Address(parts.scheme, parts.hostname, port, path)
