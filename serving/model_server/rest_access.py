"""The REST port's doors: who is let in, and what is written of each request."""

import time
from collections.abc import Collection, Sequence

from serving.model_server.access import TO_LOOK, TO_PREDICT, TO_READ_METRICS, Access, DeniedError, Needed
from serving.model_server.access_log import AccessLog, Entry
from serving.model_server.json_response import error_json
from serving.model_server.rest_doors import App, Message, Receive, Send

_API = "REST"
_ENTRY = "slipway.entry"  # the request's Entry, in its ASGI scope
_PROBES = {"/healthz", "/livez"}
_QUESTIONS = {"GET", "HEAD"}


def with_access(app: App, access: Access, metrics: str | None, open_paths: Collection[str] = ()) -> App:
    """An application that answers who has a token for what is asked, by 401 or 403 who has not, and probes.

    metrics: the path of the metrics page, if there is one. open_paths: what anybody may get, beside the probes.
    """
    open_to_all = _PROBES.union(open_paths)

    async def answer(scope: Message, receive: Receive, send: Send) -> None:
        needed = _needed(scope, metrics, open_to_all) if scope["type"] == "http" else None
        entry: Entry | None = scope.get(_ENTRY)
        if needed is not None:
            try:
                name = access.admit(_API, header(scope["headers"], b"authorization"), needed)
            except DeniedError as error:
                if entry is not None:
                    entry.denied, entry.token = error.reason, error.token
                await _deny(error, scope, send)
                return
            if entry is not None:
                entry.token = name
        await app(scope, receive, send)

    return answer


def with_log(app: App, log: AccessLog) -> App:
    """An application each of whose answers is written to the log."""

    async def answer(scope: Message, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await app(scope, receive, send)
            return
        started = time.perf_counter()
        client = scope.get("client")
        entry = Entry(_API, scope["method"], _path(scope), client[0] if client else "", status=499)
        scope[_ENTRY] = entry

        async def send_and_see(message: Message) -> None:
            if message["type"] == "http.response.start":
                entry.status = message["status"]
                entry.request_id = header(message["headers"], b"x-slipway-request-id").decode()
                entry.version = header(message["headers"], b"x-slipway-version").decode()
            await send(message)

        try:
            await app(scope, receive, send_and_see)
        finally:
            log.write(entry, time.perf_counter() - started)

    return answer


def header(headers: Sequence[tuple[bytes, bytes]], name: bytes) -> bytes:
    """The value of the header of that name in lower case; b"" if there is none."""
    return next((value for key, value in headers if key == name), b"")


def _needed(scope: Message, metrics: str | None, open_to_all: Collection[str]) -> Needed | None:
    """The scopes of which a request needs one; None if it needs no token."""
    if metrics is not None and scope["path"] == metrics:
        return TO_READ_METRICS
    if scope["method"] in _QUESTIONS:
        return None if _path(scope) in open_to_all else TO_LOOK
    return TO_PREDICT


def _path(scope: Message) -> str:
    """As the client wrote it, without what follows a question mark."""
    path: str = scope["raw_path"].decode("latin-1").partition("?")[0]
    return path


async def _deny(error: DeniedError, scope: Message, send: Send) -> None:
    body = error_json(error)
    headers = [
        (b"content-type", b"application/json"),
        (b"content-length", b"%d" % len(body)),
        (b"www-authenticate", error.challenge.encode()),
    ]
    await send({"type": "http.response.start", "status": error.http_status, "headers": headers})
    await send({"type": "http.response.body", "body": b"" if scope["method"] == "HEAD" else body})
