"""A relay that counts what a connection carries each way, headers and frames included."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from urllib.parse import urlsplit, urlunsplit

from benchmarks.serving.connections import connector
from benchmarks.serving.figures import GOOD

_PIECE_BYTES = 1 << 16


@dataclass
class Counted:
    """Bytes to the server, bytes from it."""

    to_server: int = 0
    from_server: int = 0


def carried(url: str, content_type: str, bodies: Sequence[bytes]) -> tuple[int, int]:
    """Bytes in and out of one request, the mean of `bodies` over one connection. RuntimeError for a bad answer."""
    return asyncio.run(_carried(url, content_type, bodies))


async def _carried(url: str, content_type: str, bodies: Sequence[bytes]) -> tuple[int, int]:
    parts = urlsplit(url)
    async with _relay(str(parts.hostname), int(parts.port or 0)) as (port, counted):
        through = urlunsplit(parts._replace(netloc=f"127.0.0.1:{port}"))
        open_connection, prepare = connector(through, content_type)
        connection = open_connection()
        try:
            for body in bodies:
                status, answer = await connection.ask(prepare(body))
                if status not in GOOD:
                    raise RuntimeError(f"{url} answered {status} {answer[:200]!r}; expected a prediction.")
        finally:
            await connection.close()
        return counted.to_server // len(bodies), counted.from_server // len(bodies)


@asynccontextmanager
async def _relay(host: str, port: int) -> AsyncIterator[tuple[int, Counted]]:
    counted = Counted()
    carrying = set()

    async def carry(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        carrying.add(asyncio.current_task())
        server_reader, server_writer = await asyncio.open_connection(host, port)
        ways = (
            _pump(reader, server_writer, counted, "to_server"),
            _pump(server_reader, writer, counted, "from_server"),
        )
        with suppress(OSError, asyncio.CancelledError):  # the end of it, which a task's owner would report as an error
            await asyncio.gather(*ways)

    listening = await asyncio.start_server(carry, "127.0.0.1", 0)
    try:
        yield listening.sockets[0].getsockname()[1], counted
    finally:
        listening.close()
        for task in carrying:
            task.cancel()
        await asyncio.gather(*carrying, return_exceptions=True)


async def _pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, counted: Counted, way: str) -> None:
    while piece := await reader.read(_PIECE_BYTES):
        setattr(counted, way, getattr(counted, way) + len(piece))
        writer.write(piece)
        await writer.drain()
    writer.close()
