"""`--ssl_config_file`: the keys and certificates of both ports, and what they are replaced by while the server runs."""

import ssl
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self, cast

from serving.model_server.followed_file import FollowedFile
from serving.model_server.textproto import parse_text
from serving.wire.ssl_config_pb2 import SSLConfig
from slipway.errors import InputError

if TYPE_CHECKING:
    import grpc

_EXAMPLE = 'server_key: "-----BEGIN PRIVATE KEY-----\\n..."'


class Certificates:
    """Follows the SSLConfig at `path`: connections that begin have what it says, those that are open stay."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._config: SSLConfig | None = None
        self.file = FollowedFile(path, _read, self._take)

    @property
    def verify_clients(self) -> bool:
        """Whether a client must show a certificate that `custom_ca` signed."""
        return self._config is not None and self._config.client_verify

    def rest_context(self) -> ssl.SSLContext:
        """What the REST port takes; the file must have been read."""
        return _Newest(lambda: self._context)

    def grpc_credentials(self) -> "grpc.ServerCredentials":
        """What gRPC takes for one address; the file must have been read."""
        import grpc

        now = self._config
        assert now is not None
        given = now

        def changed() -> "grpc.ServerCertificateConfiguration | None":
            nonlocal given
            if self._config is None or self._config is given:
                return None
            given = self._config
            return _for_grpc(given)

        fetch = cast("Callable[[], grpc.ServerCertificateConfiguration]", changed)  # gRPC takes None for no change
        return grpc.dynamic_ssl_server_credentials(_for_grpc(now), fetch, now.client_verify)

    def _take(self, data: bytes) -> None:
        config = _parsed(data, self._path)
        if self._config is not None and self._config.client_verify != config.client_verify:
            raise InputError(
                f"{self._path}: client_verify is another one now, which takes a new start; expected "
                f"{str(self._config.client_verify).lower()}. Restart the server."
            )
        self._context = _context(config, self._path)
        self._config = config


class _Newest(ssl.SSLContext):
    """Begins each connection with the context that is in effect then, whose cache holds no older one's sessions."""

    def __new__(cls, _newest: Callable[[], ssl.SSLContext]) -> Self:
        return super().__new__(cls, ssl.PROTOCOL_TLS_SERVER)

    def __init__(self, newest: Callable[[], ssl.SSLContext]) -> None:
        self._newest = newest

    def wrap_bio(self, *args: Any, **named: Any) -> ssl.SSLObject:
        """See SSLContext; what event loops begin a connection by."""
        return self._newest().wrap_bio(*args, **named)


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror}); expected an SSLConfig as text.") from error


def _parsed(data: bytes, path: Path) -> SSLConfig:
    """What the file says; InputError names the line, or the field. The fields are PEM, not paths."""
    config = parse_text(data, path, SSLConfig)
    for name in ("server_key", "server_cert", *(("custom_ca",) if config.custom_ca or config.client_verify else ())):
        if "-----BEGIN " not in getattr(config, name):
            raise InputError(f"{path}: {name}: expected the PEM itself, as in {_EXAMPLE}.")
    return config


def _context(config: SSLConfig, path: Path) -> ssl.SSLContext:
    """What Python takes; InputError if key and certificates do not fit, of which gRPC would say nothing."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_alpn_protocols(["http/1.1"])
    # A ticket would be taken by the next context too, and go on with what was verified before the file changed.
    context.options |= ssl.OP_NO_TICKET
    context.num_tickets = 0
    with tempfile.NamedTemporaryFile("w") as pem:  # readable by this user alone, and gone at once
        pem.write(f"{config.server_cert}\n{config.server_key}\n")
        pem.flush()
        try:
            context.load_cert_chain(pem.name, password=lambda: b"")  # never asks at the terminal
            if config.custom_ca:
                context.load_verify_locations(cadata=config.custom_ca)
        except (ssl.SSLError, ValueError) as error:
            raise InputError(
                f"{path}: its key and certificates cannot be used ({error}); expected server_key to be the key of "
                "server_cert, without a passphrase."
            ) from error
    if config.client_verify:
        context.verify_mode = ssl.CERT_REQUIRED
    return context


def _for_grpc(config: SSLConfig) -> "grpc.ServerCertificateConfiguration":
    import grpc

    return grpc.ssl_server_certificate_configuration(
        [(config.server_key.encode(), config.server_cert.encode())], config.custom_ca.encode() or None
    )
