"""A request's body, whole, unpacked, and never larger than is allowed."""

import zlib
from collections.abc import Awaitable, Callable, MutableMapping, Sequence
from typing import Any

from serving.model_server.errors import ServingError, invalid_argument
from serving.wire.status_pb2 import Code

_GZIP = zlib.MAX_WBITS | 16


async def read_body(
    headers: Sequence[tuple[bytes, bytes]],
    receive: Callable[[], Awaitable[MutableMapping[str, Any]]],
    max_bytes: int,
) -> bytes | None:
    """The body, unpacked if it is gzip; None if it is, or says that it is, larger than `max_bytes`.

    ServingError INVALID_ARGUMENT for broken gzip, CANCELLED when the client goes away first.
    """
    given = dict(headers)
    if int(given.get(b"content-length", b"0")) > max_bytes:
        return None
    parts: list[bytes] = []
    size = 0
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise ServingError(Code.CANCELLED, "The client went away before it had sent the body.")
        part: bytes = message.get("body", b"")
        size += len(part)
        if size > max_bytes:
            return None
        parts.append(part)
        if not message.get("more_body"):
            break
    body = parts[0] if len(parts) == 1 else b"".join(parts)
    return _unpack(body, max_bytes) if given.get(b"content-encoding", b"").lower() == b"gzip" else body


def _unpack(packed: bytes, max_bytes: int) -> bytes | None:
    unpacker = zlib.decompressobj(_GZIP)
    try:
        body = unpacker.decompress(packed, max_bytes + 1)
    except zlib.error as error:
        raise invalid_argument(f"The body says that it is gzip, and is not: {error}") from error
    if len(body) > max_bytes:
        return None
    if not unpacker.eof:
        raise invalid_argument("The body says that it is gzip, and is cut short")
    return body
