"""What a client shows a server, and what it trusts: from the environment, so that no command line or log has it.

SLIPWAY_TOKEN, or the file that SLIPWAY_TOKEN_FILE names: a bearer token. SLIPWAY_CA_FILE: certificates of the
authorities that servers are trusted by, instead of this machine's. SLIPWAY_CERT_FILE: this client's certificate and its
key, both in one PEM file.
"""

import os
from pathlib import Path
from typing import TYPE_CHECKING

from serving.client.address import Address
from slipway.errors import UnavailableError

if TYPE_CHECKING:
    import ssl
    from collections.abc import Sequence

    import grpc

TOKEN, TOKEN_FILE, CA_FILE, CERT_FILE = "SLIPWAY_TOKEN", "SLIPWAY_TOKEN_FILE", "SLIPWAY_CA_FILE", "SLIPWAY_CERT_FILE"
DENIED_STATUSES = (401, 403)


class CredentialsError(UnavailableError):
    """A server lets nobody in with what the environment has, or that cannot be used. It says nothing of any version."""


def bearer_token() -> str:
    """The token, as the environment has it now; "" if it has none. CredentialsError if it cannot be one."""
    token, place = os.environ.get(TOKEN, ""), TOKEN
    if not token and (file := os.environ.get(TOKEN_FILE)):
        token, place = _read(TOKEN_FILE).decode(errors="replace").strip(), f"{TOKEN_FILE}={file}"
    if not (token.isascii() and token.isprintable()) or " " in token:
        raise CredentialsError(
            f"{place}: is no token; expected one word, as `slipway tokens create` prints it. Correct it."
        )
    return token


def http_headers() -> dict[str, str]:
    """What a request over HTTP shows."""
    token = bearer_token()
    return {"Authorization": f"Bearer {token}"} if token else {}


def grpc_metadata() -> tuple[tuple[str, str], ...]:
    """What a call over gRPC shows."""
    token = bearer_token()
    return (("authorization", f"Bearer {token}"),) if token else ()


def tls_context() -> "ssl.SSLContext":
    """What an https connection trusts and shows; CredentialsError if a file of the environment cannot be used."""
    import ssl

    authorities = _pem(CA_FILE).decode(errors="replace") if os.environ.get(CA_FILE) else None
    try:
        context = ssl.create_default_context(cadata=authorities)
    except ssl.SSLError as error:
        raise CredentialsError(f"{CA_FILE}={os.environ[CA_FILE]}: cannot be used ({error}). Correct it.") from error
    if os.environ.get(CERT_FILE):
        _pem(CERT_FILE)
        try:
            context.load_cert_chain(os.environ[CERT_FILE], password=lambda: b"")  # never asks at the terminal
        except (ssl.SSLError, ValueError) as error:
            raise CredentialsError(
                f"{CERT_FILE}={os.environ[CERT_FILE]}: cannot be used ({error}); expected a certificate and its key, "
                "without a passphrase, in one PEM file. Correct it."
            ) from error
    return context


def open_channel(where: Address, options: "Sequence[tuple[str, str | int]]") -> "grpc.Channel":
    """A connection to a grpc:// or grpcs:// address; CredentialsError if a file of the environment cannot be used."""
    import grpc

    if where.scheme == "grpc":
        return grpc.insecure_channel(where.host_and_port, options=options)
    authorities = _pem(CA_FILE) if os.environ.get(CA_FILE) else None
    own = _pem(CERT_FILE) if os.environ.get(CERT_FILE) else None
    credentials = grpc.ssl_channel_credentials(authorities, private_key=own, certificate_chain=own)
    return grpc.secure_channel(where.host_and_port, credentials, options=options)


def denied(address: object, message: str) -> CredentialsError:
    """The error for a server that answered 401, 403, UNAUTHENTICATED or PERMISSION_DENIED, with its words."""
    return CredentialsError(
        f"{address} lets nobody in with this token: {message}; expected one that it knows, for what is asked. "
        f"Set {TOKEN}, or make one with `slipway tokens create`."
        if bearer_token()
        else f"{address} wants a token: {message}; expected {TOKEN} in the environment. Set it."
    )


def _pem(variable: str) -> bytes:
    data = _read(variable)
    if b"-----BEGIN CERTIFICATE-----" not in data:
        raise CredentialsError(f"{variable}={os.environ[variable]}: holds no certificate; expected PEM. Correct it.")
    return data


def _read(variable: str) -> bytes:
    try:
        return Path(os.environ[variable]).read_bytes()
    except OSError as error:
        raise CredentialsError(
            f"{variable}={os.environ[variable]}: cannot be read ({error.strerror}). Correct the path."
        ) from error
