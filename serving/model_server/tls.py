"""`--ssl_config_file`: the keys and certificates of the gRPC port."""

from pathlib import Path
from typing import TYPE_CHECKING

from serving.model_server.textproto import read_text
from serving.wire.ssl_config_pb2 import SSLConfig
from slipway.errors import InputError

if TYPE_CHECKING:
    import grpc

_EXAMPLE = 'server_key: "-----BEGIN PRIVATE KEY-----\\n..."'


def read_tls(config: Path) -> SSLConfig:
    """What the file says, its key and certificates tried; InputError names the file, and the line, or the field.

    The fields are PEM, not paths.
    """
    ssl = read_text(config, SSLConfig)
    for name in ("server_key", "server_cert", *(("custom_ca",) if ssl.custom_ca or ssl.client_verify else ())):
        if "-----BEGIN " not in getattr(ssl, name):
            raise InputError(f"{config}: {name}: expected the PEM itself, as in {_EXAMPLE}.")
    _check_pair(config, ssl)
    return ssl


def credentials(ssl: SSLConfig) -> "grpc.ServerCredentials":
    """What gRPC takes. With `client_verify` a client must show a certificate that `custom_ca` signed."""
    import grpc

    return grpc.ssl_server_credentials(
        [(ssl.server_key.encode(), ssl.server_cert.encode())],
        root_certificates=ssl.custom_ca.encode() or None,
        require_client_auth=ssl.client_verify,
    )


def _check_pair(config: Path, ssl: SSLConfig) -> None:
    """GRPC itself would say no more than that the port cannot be bound."""
    import ssl as openssl
    import tempfile

    context = openssl.SSLContext(openssl.PROTOCOL_TLS_SERVER)
    with tempfile.NamedTemporaryFile("w") as pem:  # readable by this user alone, and gone at once
        pem.write(f"{ssl.server_cert}\n{ssl.server_key}\n")
        pem.flush()
        try:
            context.load_cert_chain(pem.name, password=lambda: b"")  # never asks at the terminal
            if ssl.custom_ca:
                context.load_verify_locations(cadata=ssl.custom_ca)
        except (openssl.SSLError, ValueError) as error:
            raise InputError(
                f"{config}: its key and certificates cannot be used ({error}); expected server_key to be the key of "
                "server_cert, without a passphrase."
            ) from error
