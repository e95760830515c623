"""A proxy before the S3 server that hands on what comes, byte for byte, or has it go wrong.

One request a connection. `Host` stays as it was sent, since it is signed.
"""

import re
import socket
import threading
import time
from contextlib import contextmanager, suppress
from datetime import UTC, datetime, timedelta

_TIMEOUT_S = 90
_DATE = re.compile(rb"(?i)^(x-amz-date: )\S+", re.MULTILINE)


class FaultyS3:
    """fault: what happens to requests; `met` counts those that it happened to."""

    def __init__(self, port):
        self._port = port
        self._listening = socket.create_server(("127.0.0.1", 0), backlog=64)
        self.endpoint = f"http://127.0.0.1:{self._listening.getsockname()[1]}"
        self.fault = None
        self.met = 0
        threading.Thread(target=self._accept, daemon=True).start()

    def close(self):
        self._listening.close()

    @contextmanager
    def having(self, fault):
        """The fault, for the length of the block."""
        self.fault, self.met = fault, 0
        try:
            yield self
        finally:
            self.fault = None

    def _accept(self):
        with suppress(OSError):
            while True:
                client, _ = self._listening.accept()
                threading.Thread(target=self._serve, args=(client,), daemon=True).start()

    def _serve(self, client):
        with client, suppress(OSError):
            client.settimeout(_TIMEOUT_S)
            head, body = _head(client)
            if not head:
                return
            fault = self.fault
            if fault is not None:
                self.met += 1
            if fault is not None and fault.status:
                _refuse(client, head, body, fault.status)
                return
            with socket.create_connection(("127.0.0.1", self._port), timeout=_TIMEOUT_S) as server:
                server.sendall(_rewritten(head, fault) + body)
                threading.Thread(target=_pump, args=(client, server), daemon=True).start()
                _answer(server, client, head, fault)
                for connection in (client, server):
                    connection.shutdown(socket.SHUT_RDWR)  # the other thread waits on both


class Fault:
    """status: what every request is answered with. Else: how late, how much too early, how much of a body."""

    def __init__(self, status=0, *, delay_s=0.0, skew=timedelta(), cut=False):
        self.status = status
        self.delay_s = delay_s
        self.skew = skew
        self.cut = cut


def _head(connection, data=b""):
    """A message's head with its blank line, and what came after it. data: what was received already."""
    while b"\r\n\r\n" not in data:
        received = connection.recv(65536)
        if not received:
            return b"", b""
        data += received
    head, _, body = data.partition(b"\r\n\r\n")
    return head + b"\r\n\r\n", body


def _rewritten(head, fault):
    line, _, headers = head.partition(b"\r\n")
    if fault is not None and fault.skew:
        then = (datetime.now(UTC) + fault.skew).strftime("%Y%m%dT%H%M%SZ").encode()
        headers = _DATE.sub(rb"\g<1>" + then, headers)
    return line + b"\r\nConnection: close\r\n" + headers


def _refuse(client, head, body, status):
    """Answer with an error as S3 writes it; a body that is on its way is read, as a server would."""
    left = _length(head) - len(body)
    while left > 0 and b"100-continue" not in head.lower():
        received = client.recv(65536)
        if not received:
            return
        left -= len(received)
    code = {500: "InternalError", 503: "SlowDown"}[status]
    text = b"" if head.startswith(b"HEAD ") else f"<Error><Code>{code}</Code><Message>a test</Message></Error>".encode()
    lines = f"HTTP/1.1 {status} {code}\r\nContent-Type: application/xml\r\nContent-Length: {len(text)}\r\n"
    client.sendall(lines.encode() + b"Connection: close\r\n\r\n" + text)


def _answer(server, client, head, fault):
    if fault is None or not (fault.delay_s or fault.cut):
        _pump(server, client)
        return
    answer, body = _head(server)
    while answer.startswith(b"HTTP/1.1 100 "):
        client.sendall(answer)
        answer, body = _head(server, body)
    time.sleep(fault.delay_s)
    if fault.cut and head.startswith(b"GET ") and _length(answer) > 1:
        while len(body) < _length(answer) // 2:
            body += server.recv(65536)
        client.sendall(answer + body[: _length(answer) // 2])
        return
    client.sendall(answer + body)
    _pump(server, client)


def _length(head):
    found = re.search(rb"(?im)^content-length: (\d+)", head)
    return int(found[1]) if found else 0


def _pump(source, target):
    """Hand on what comes until it ends."""
    with suppress(OSError):
        while data := source.recv(65536):
            target.sendall(data)
