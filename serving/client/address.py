"""Where a model server is, as people write it: `http://host:8501`, `grpcs://host:8500`, `host:8501`."""

import re
from dataclasses import dataclass
from urllib.parse import urlsplit

from slipway.credentials import without_credentials
from slipway.errors import InputError

_STANDARD_PORTS = {"http": 80, "https": 443, "grpc": None, "grpcs": None}
_GRPC = {"grpc", "grpcs"}
_NAME = r"(?=.{1,254}$)[a-z0-9_-]{1,63}(?:\.[a-z0-9_-]{1,63})*\.?"
_HOST = re.compile(rf"{_NAME}|(?=.*:)[0-9a-f:.]{{2,45}}(?:%[\w.-]+)?", re.ASCII)
_PATH = re.compile(r"[!-~]*")  # as HTTP sends it
_EXPECTED = "expected http://HOST:PORT, https://HOST:PORT, grpc://HOST:PORT, grpcs://HOST:PORT or HOST:PORT"


@dataclass(frozen=True)
class Address:
    """scheme: http or grpc, or https or grpcs, which are over TLS.

    path: what stands before `/v1/models` behind a proxy, without a final slash.
    """

    scheme: str
    host: str
    port: int
    path: str = ""

    @property
    def is_grpc(self) -> bool:
        """Whether gRPC is spoken there."""
        return self.scheme in _GRPC

    @property
    def host_and_port(self) -> str:
        """`host:port`, with brackets around an IPv6 address."""
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"

    def __str__(self) -> str:
        return f"{self.scheme}://{self.host_and_port}{self.path}"


def parse_address(text: str) -> Address:
    """Read an address; InputError names what is wrong with it. Only http:// and https:// have a standard port."""
    has_scheme = "://" in text
    url = text if has_scheme else f"http://{text}"
    try:
        parts = urlsplit(url)
        port = parts.port or (_STANDARD_PORTS.get(parts.scheme) if has_scheme else None)
    except ValueError as error:
        reason = "cannot be read" if "@" in text else error  # which may quote what stands before the @
        raise InputError(f"address {without_credentials(url)!r}: {reason}; {_EXPECTED}.") from error
    if parts.username or parts.password:
        raise InputError(f"address of {parts.hostname!r} holds a user or password, which are not sent; {_EXPECTED}.")
    if parts.scheme not in _STANDARD_PORTS:
        raise InputError(f"address {text!r}: unknown scheme {parts.scheme!r}; {_EXPECTED}.")
    if not parts.hostname or not port:
        raise InputError(f"address {text!r}: no {'port' if parts.hostname else 'host'}; {_EXPECTED}.")
    if not _HOST.fullmatch(parts.hostname):
        raise InputError(f"address {text!r:.200}: {parts.hostname!r:.80} is no host's name; {_EXPECTED}.")
    path = parts.path.rstrip("/")
    extra = parts.query or parts.fragment or "/v1/models" in path or (parts.scheme in _GRPC and path)
    if extra or not _PATH.fullmatch(path):
        raise InputError(f"address {text!r} goes on after the port; {_EXPECTED}. The model's name goes to --name.")
    return Address(parts.scheme, parts.hostname, port, path)
