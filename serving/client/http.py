"""One kept-alive HTTP connection that speaks JSON, and the one place where its failures become ours."""

import http.client
import json
import re
import socket
import ssl
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Any, Protocol, Self

from serving.client.address import Address
from serving.client.credentials import CredentialsError, http_headers, tls_context
from slipway.errors import UnavailableError

_LONGEST_MESSAGE = 300
_ASSERTION = re.compile(r"^assertion failed: \[([^\]]*)\]$")
_STALE = (http.client.RemoteDisconnected, http.client.CannotSendRequest, ConnectionResetError, BrokenPipeError)


@dataclass(frozen=True)
class Response:
    """status: HTTP status code. headers: names in lower case. body: as received."""

    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def document(self) -> Any:
        """The body as JSON; None if it is none."""
        try:
            return json.loads(self.body)
        except ValueError:
            return None

    @property
    def message(self) -> str:
        """The server's own words on a failure, in one line of at most 300 characters."""
        document = self.document
        words = [document.get(key) for key in ("error", "message", "detail")] if isinstance(document, dict) else []
        text = next((word for word in words if isinstance(word, str) and word), None)
        return one_line(text or self.body.decode(errors="replace")) or f"HTTP {self.status}"


def one_line(text: str) -> str:
    """Return the first line that says something, of at most 300 characters, without TensorFlow's `assertion failed`."""
    first = next((line.strip() for line in text.splitlines() if line.strip()), "")
    return _ASSERTION.sub(r"\1", first)[:_LONGEST_MESSAGE].rstrip(".")


class Exchange(Protocol):
    """What a client of a REST API asks through: a connection, or the proxy of a cluster's API server."""

    @property
    def address(self) -> object:
        """Where the server is, to people."""
        ...

    def get(self, path: str) -> Response:
        """GET `path` below the address."""
        ...

    def post(self, path: str, document: Any) -> Response:
        """POST `document` as JSON to `path` below the address."""
        ...

    def close(self) -> None:
        """Let go of the connection."""
        ...


class Http:
    """A connection to one address. Every failure to get an answer is UnavailableError; any status is an answer.

    It shows, and trusts, what the environment has for that: see `serving.client.credentials`.

    Proxies named in the environment are not used: a model server is called directly.
    """

    def __init__(self, address: Address, timeout_s: float) -> None:
        self.address = address
        self._timeout_s = timeout_s
        if address.scheme == "https":
            context = tls_context()
            self._connection: http.client.HTTPConnection = http.client.HTTPSConnection(
                address.host, address.port, timeout=timeout_s, context=context
            )
        else:
            self._connection = http.client.HTTPConnection(address.host, address.port, timeout=timeout_s)

    def get(self, path: str) -> Response:
        """GET `path` below the address."""
        return self._exchange("GET", path, None)

    def post(self, path: str, document: Any) -> Response:
        """POST `document` as JSON to `path` below the address."""
        return self._exchange("POST", path, json.dumps(document, separators=(",", ":")).encode())

    def close(self) -> None:
        """Close the connection; the next call opens it again."""
        self._connection.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def _exchange(self, method: str, path: str, body: bytes | None) -> Response:
        with _http_errors(self.address, self._timeout_s):
            used_before = self._connection.sock is not None
            try:
                return self._send(method, path, body)
            except _STALE:
                # A server may close a connection that was idle; a prediction changes nothing there, so ask once more.
                self.close()
                if not used_before:
                    raise
                return self._send(method, path, body)
            except BaseException:
                self.close()
                raise

    def _send(self, method: str, path: str, body: bytes | None) -> Response:
        headers = {"Accept": "application/json"} | http_headers()
        headers |= {"Content-Type": "application/json"} if body is not None else {}
        # A server that refuses a large body may answer, and close, before it has read it: the answer is there to read.
        with suppress(BrokenPipeError, ConnectionResetError):
            self._connection.request(method, self.address.path + path, body=body, headers=headers)
        response = self._connection.getresponse()
        return Response(response.status, {k.lower(): v for k, v in response.getheaders()}, response.read())


@contextmanager
def _http_errors(address: Address, timeout_s: float) -> Iterator[None]:
    try:
        yield
    except TimeoutError as error:
        raise UnavailableError(
            f"{address} did not answer within {timeout_s:g} s; expected a model server. Look at its log and ask again."
        ) from error
    except ssl.SSLError as error:
        reason = getattr(error, "verify_message", "") or error.reason or error
        raise CredentialsError(
            f"{address}: TLS failed: {reason}; expected a certificate that this machine trusts. Check it, name its "
            "authority's in SLIPWAY_CA_FILE, or use http://."
        ) from error
    except socket.gaierror as error:
        raise UnavailableError(f"{address}: unknown host ({error.strerror}). Check the name in --address.") from error
    except http.client.HTTPException as error:
        raise UnavailableError(
            f"{address} does not speak HTTP ({type(error).__name__}). If that is its gRPC port, "
            f"write grpc://{address.host_and_port}."
        ) from error
    except OSError as error:
        raise UnavailableError(
            f"{address}: nothing answers there ({error.strerror or error}); expected a model server. "
            "Start one with `slipway serve`, or pass another --address."
        ) from error
