"""What a client may hold of the REST port: connections, bytes of headers, and time to send and to read.

The body's size and time are the application's: it knows what it is for.
"""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle

_TOO_LARGE = b'{"error": "The headers are larger than the server takes."}'


@dataclass(frozen=True)
class RestLimits:
    """connections: at a time; 0 is no limit. header_bytes: of one request, its path included.

    headers_s: from a request's first byte, or the connection's start, to the end of its headers. leftover_s: for what
    comes of a body that was answered before it was read. read_s: for a client to read its answer, or ask the next time.
    """

    connections: int = 0
    header_bytes: int = 64 * 1024
    headers_s: float = 20.0
    leftover_s: float = 20.0
    read_s: int = 75


REST_LIMITS = RestLimits()


def limited(limits: RestLimits) -> Callable[..., asyncio.Protocol]:
    """The protocol of one connection, for uvicorn."""

    def make(**given: Any) -> asyncio.Protocol:
        return _Limited(limits, **given)

    return make


class _Limited(HttpToolsProtocol):
    def __init__(self, limits: RestLimits, **given: Any) -> None:
        super().__init__(**given)
        self._limits = limits
        self._in_headers = True  # of the next request, once its first byte came
        self._header_bytes = 0
        self._timer: asyncio.TimerHandle | None = None
        self._unanswered: deque[RequestResponseCycle] = deque()  # those that were pipelined, too

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        if 0 < self._limits.connections < len(self.connections):
            transport.abort()
        else:
            self._end_in(self._limits.headers_s)

    def connection_lost(self, exc: Exception | None) -> None:
        self._end_in(None)
        self._give_up_answers()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        if self._in_headers:
            self._header_bytes += len(data)
        super().data_received(data)
        if self.transport.is_closing():
            return
        if self._in_headers and self._header_bytes > self._limits.header_bytes:
            self._refuse_headers()
        elif self._timer is None and self._in_headers and self._header_bytes:
            self._end_in(self._limits.headers_s)
        elif self._timer is None and not self._in_headers and self.cycle.response_complete:
            self._end_in(self._limits.leftover_s)

    def on_headers_complete(self) -> None:
        self._in_headers, self._header_bytes = False, 0
        if not self.flow.write_paused:  # else it has so long to read, however much it asks meanwhile
            self._end_in(None)
        size = len(self.url) + sum(len(name) + len(value) for name, value in self.headers)
        app = self.app
        if size > self._limits.header_bytes:
            self.app = _answer_too_large
        try:
            super().on_headers_complete()
        finally:
            self.app = app
        while self._unanswered and self._unanswered[0].response_complete:
            self._unanswered.popleft()
        self._unanswered.append(self.cycle)

    def on_message_complete(self) -> None:
        self._in_headers = True
        super().on_message_complete()
        if self.cycle.response_complete:  # it was answered before its body was there: nothing else counts the time now
            self._end_in(None)
            self._end_in(self._limits.read_s)

    def pause_writing(self) -> None:
        super().pause_writing()
        self._end_in(self._limits.read_s)

    def resume_writing(self) -> None:
        super().resume_writing()
        self._end_in(None)

    def timeout_keep_alive_handler(self) -> None:
        """Close, also where the client has not read its answer: a polite end would wait for it."""
        self._end()

    def _end_in(self, seconds: float | None) -> None:
        """End the connection then, instead of when it was to end; None lets it be."""
        if self._timer is not None:
            self._timer.cancel()
        self._timer = None if seconds is None else self.loop.call_later(seconds, self._end)

    def _end(self) -> None:
        if self.transport.get_write_buffer_size():
            self._give_up_answers()
            self.transport.abort()
        else:
            self.transport.close()

    def _give_up_answers(self) -> None:
        """Have what is still being answered write nothing more: uvicorn tells so to the newest request alone."""
        for cycle in self._unanswered:
            cycle.disconnected = True

    def _refuse_headers(self) -> None:
        head = b"HTTP/1.1 431 Request Header Fields Too Large\r\ncontent-type: application/json\r\n"
        self.transport.write(head + b"content-length: %d\r\nconnection: close\r\n\r\n" % len(_TOO_LARGE) + _TOO_LARGE)
        self.transport.close()


async def _answer_too_large(_scope: Any, _receive: Any, send: Callable[[Any], Awaitable[None]]) -> None:
    headers = [
        (b"content-type", b"application/json"),
        (b"content-length", b"%d" % len(_TOO_LARGE)),
        (b"connection", b"close"),
    ]
    await send({"type": "http.response.start", "status": 431, "headers": headers})
    await send({"type": "http.response.body", "body": _TOO_LARGE})
