"""What stands before the REST API when flags ask for it: headers for pages of other origins, and the metrics page."""

import asyncio
from collections.abc import Awaitable, Callable, Collection, MutableMapping
from typing import Any

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Message, Receive, Send], Awaitable[None]]

# TensorFlow Serving's, and the header that a token comes in
_CORS = [
    (b"access-control-allow-origin", b"*"),
    (b"access-control-allow-methods", b"POST, GET"),
    (b"access-control-allow-headers", b"Content-Type, Authorization"),
]


def with_cors(app: App, own_paths: Collection[str] = ()) -> App:
    """An application whose answers any origin may read, and which answers a browser's preflight request itself.

    own_paths: what only the server's own page may read.
    """

    async def answer(scope: Message, receive: Receive, send: Send) -> None:
        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start" and scope["path"] not in own_paths:
                message["headers"] = [*message["headers"], *_CORS]
            await send(message)

        if scope["type"] == "http" and scope["method"] == "OPTIONS":
            await _respond(send_with_headers, b"text/plain", b"")
        else:
            await app(scope, receive, send_with_headers)

    return answer


def with_page(app: App, path: str, content_type: bytes, page: Callable[[], bytes]) -> App:
    """An application that answers GET at that path with the page, made on another thread."""

    async def answer(scope: Message, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and scope["method"] == "GET" and scope["path"] == path:
            await _respond(send, content_type, await asyncio.to_thread(page))
        else:
            await app(scope, receive, send)

    return answer


async def _respond(send: Send, content_type: bytes, body: bytes) -> None:
    headers = [(b"content-type", content_type), (b"content-length", b"%d" % len(body))]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": body})
