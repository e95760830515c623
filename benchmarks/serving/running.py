"""A server as a tree of processes: started, timed to its first answer, weighed, ended to the last child."""

import asyncio
import os
import socket
import subprocess
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import psutil

from benchmarks.serving.connections import connector
from benchmarks.serving.environments import Environment
from benchmarks.serving.figures import GOOD
from benchmarks.serving.load import ROOT
from benchmarks.serving.servers import KERAS, OWN, Server

APPS = Path(__file__).parent / "apps"
_MARK = "BENCHMARK_SERVER"  # in the environment of every process that a server starts
_FIRST_ANSWER_S = 150.0
_POLL_S = 0.05
_END_S = 15.0
_LAST_LINES = 12


class ServerError(Exception):
    """A server that ended, or does not answer; the text ends with its log."""


@dataclass(frozen=True)
class Running:
    """A server that answers. places: what stands for the placeholders of its row."""

    server: Server
    process: subprocess.Popen[bytes]
    mark: str
    places: dict[str, str]
    first_answer_s: float

    def url(self, kind: str) -> str:
        """Where to ask for a kind of request."""
        return next(ask.url for ask in self.server.asks if ask.kind == kind).format(**self.places)

    def rss_mb(self) -> float:
        """Resident memory of all its processes, in MB."""
        return sum(_rss(process) for process in _marked(self.mark)) / 1e6

    def cpu_s(self) -> float:
        """Processor seconds that all its processes took so far."""
        return sum(_cpu_s(process) for process in _marked(self.mark))


@contextmanager
def running(server: Server, environment: Environment, work: Path, first: tuple[bytes, str]) -> Iterator[Running]:
    """Start a server and wait until it has answered `first`, (body, kind); end it with the block.

    Raises ServerError.
    """
    mark = uuid.uuid4().hex
    places = {
        "bin": str(environment.bin),
        "apps": str(APPS),
        "work": str(work),
        "network": str(
            work / "model.keras" if server.network == KERAS else variant_directory(work, server) / "model.xml"
        ),
        "rest": str(free_port()),
        "grpc": str(free_port()),
    }
    variables = {name: value.format(**places) for name, value in server.variables.items()}
    path = os.pathsep.join([str(environment.bin), os.environ["PATH"]])
    log = work / "logs" / f"{server.key.replace('/', '-').replace(' ', '-')}.log"
    log.parent.mkdir(exist_ok=True)
    started_s = time.perf_counter()
    with log.open("wb") as output:
        process = subprocess.Popen(
            [part.format(**places) for part in server.command],
            cwd=ROOT if server.name == OWN else APPS,
            env={**os.environ, "TF_CPP_MIN_LOG_LEVEL": "2", "PATH": path, **variables, _MARK: mark},
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            start_new_session=True,
        )
    try:
        body, kind = first
        ask = next(ask for ask in server.asks if ask.kind == kind)
        asyncio.run(_first_answer(process, ask.url.format(**places), ask.content_type, body))
        yield Running(server, process, mark, places, time.perf_counter() - started_s)
    except ServerError as error:
        last = "\n".join(log.read_text(errors="replace").splitlines()[-_LAST_LINES:])
        raise ServerError(f"{server.key}: {error}; its log ends with\n{last}") from error
    finally:
        _end(process, mark)


def variant_directory(work: Path, server: Server) -> Path:
    """Where the files of a server's variant lie."""
    return work / "base" / "resnet50" / "1" / "assets.extra" / "slipway" / "variants" / server.network


async def _first_answer(process: subprocess.Popen[bytes], url: str, content_type: str, body: bytes) -> None:
    """Ask until the answer is good. A refusal is no end: MLServer answers 400 while it loads."""
    open_connection, prepare = connector(url, content_type)
    connection, request = open_connection(), prepare(body)
    status, answer = "nothing", b""
    try:
        async with asyncio.timeout(_FIRST_ANSWER_S):
            while status not in GOOD:
                if process.poll() is not None:
                    raise ServerError(f"ended with exit code {process.returncode}")
                await asyncio.sleep(_POLL_S)
                status, answer = await connection.ask(request)
    except TimeoutError as error:
        seen = f"{status} {answer[:300].decode(errors='replace')}"
        raise ServerError(f"no good answer within {_FIRST_ANSWER_S:.0f} s; the last was {seen}") from error
    finally:
        await connection.close()


def _end(process: subprocess.Popen[bytes], mark: str) -> None:
    process.terminate()
    with suppress(subprocess.TimeoutExpired):
        process.wait(_END_S)
    for each in _marked(mark):
        with suppress(psutil.NoSuchProcess):
            each.kill()
    process.wait()


def _marked(mark: str) -> list[psutil.Process]:
    found = []
    for process in psutil.process_iter():
        with suppress(psutil.NoSuchProcess, psutil.AccessDenied):
            if process.environ().get(_MARK) == mark:
                found.append(process)
    return found


def _rss(process: psutil.Process) -> int:
    with suppress(psutil.NoSuchProcess):
        return int(process.memory_info().rss)
    return 0


def _cpu_s(process: psutil.Process) -> float:
    with suppress(psutil.NoSuchProcess):
        times = process.cpu_times()
        return float(times.user + times.system)
    return 0.0


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return int(listener.getsockname()[1])
