"""The address that MLflow delivers to: POST wakes the loop, GET says how many deliveries came."""

import asyncio
import contextlib
import errno
import json
import os
import socket
import threading
from collections.abc import Awaitable, Callable, Iterator, Mapping, MutableMapping
from dataclasses import asdict
from typing import Any

from pipeline.reconcile.webhook import Deliveries, Verdict
from slipway.errors import InputError

LARGEST_BODY = 64 * 1024  # bytes; an alias event has 200
_BODY_S = 10.0
_CONNECTIONS = 200
_STOP_S = 3.0
_JSON = (b"content-type", b"application/json")

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]


class WebhookApp:
    """An ASGI application. Any path will do: a proxy may add one, and the signature decides."""

    def __init__(self, deliveries: Deliveries, wake: threading.Event) -> None:
        self._deliveries = deliveries
        self._wake = wake

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["method"] in {"GET", "HEAD"}:
            await _respond(send, 200, asdict(self._deliveries.tally()), with_body=scope["method"] == "GET")
            return
        headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in scope["headers"]}
        verdict = await self._verdict(scope["method"], headers, receive)
        if verdict is Verdict.ACCEPTED:
            self._wake.set()
        await _respond(send, verdict.status, {"error": verdict.words}, with_body=verdict is not Verdict.ACCEPTED)

    async def _verdict(self, method: str, headers: Mapping[str, str], receive: Receive) -> Verdict:
        try:
            if method != "POST":
                verdict = Verdict.METHOD
            elif int(headers.get("content-length", "0")) > LARGEST_BODY:
                verdict = Verdict.TOO_LARGE
            else:
                body = await asyncio.wait_for(_body(receive), _BODY_S)
                if body is not None:
                    return self._deliveries.judge(headers, body)
                verdict = Verdict.TOO_LARGE
        except TimeoutError:
            verdict = Verdict.TOO_SLOW
        except (ValueError, ConnectionError):
            verdict = Verdict.MALFORMED
        self._deliveries.count(verdict)
        return verdict


@contextlib.contextmanager
def webhook_server(app: WebhookApp, host: str, port: int) -> Iterator[str]:
    """Serve `app` in a thread of its own for the length of the block; yields its address.

    port: 0 for any free one. InputError when it cannot be listened on.
    """
    import uvicorn

    listener = _listen(host, port)
    config = uvicorn.Config(
        app,
        lifespan="off",
        ws="none",
        interface="asgi3",
        log_config=None,
        log_level="critical",  # a client's nonsense is in the tally, not in our output
        access_log=False,
        server_header=False,
        limit_concurrency=_CONNECTIONS,
        timeout_graceful_shutdown=1,
    )
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run, args=([listener],), name="webhooks", daemon=True)
    thread.start()
    try:
        shown = f"[{host}]" if ":" in host else host
        yield f"http://{shown}:{listener.getsockname()[1]}"
    finally:
        server.should_exit = True
        thread.join(_STOP_S)
        listener.close()


def _listen(host: str, port: int) -> socket.socket:
    try:
        return socket.create_server((host, port), family=socket.AF_INET6 if ":" in host else socket.AF_INET)
    except (OSError, OverflowError) as error:
        number = getattr(error, "errno", None)
        reason = "is in use" if number == errno.EADDRINUSE else os.strerror(number) if number else str(error)
        raise InputError(
            f"--webhook-port {port}: {host}:{port} {reason}; expected a free one. "
            "End what listens there, or pass another --webhook-port."
        ) from error


async def _body(receive: Receive) -> bytes | None:
    """The body; None once it is larger than allowed."""
    parts = bytearray()
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise ConnectionError("the sender went away")
        parts += message.get("body", b"")
        if len(parts) > LARGEST_BODY:
            return None
        if not message.get("more_body"):
            return bytes(parts)


async def _respond(send: Send, status: int, document: object, *, with_body: bool) -> None:
    body = json.dumps(document).encode() + b"\n" if with_body else b""
    headers = [_JSON, (b"content-length", b"%d" % len(body))] if with_body else []
    if status >= 400:
        headers.append((b"connection", b"close"))  # what is left of a refused body is not read
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})
