"""What the stack is made of: parts that are started, answer, are made ready for use, and are ended."""

import shutil
import urllib.error
import urllib.request
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Protocol

from deploy.stack.daemon import Daemon
from slipway.errors import InputError


class Service(Protocol):
    """One part. Every method may be called again, and then changes nothing."""

    def start(self) -> None:
        """Have its processes running; what it needs answers already."""
        ...

    def answers(self) -> bool:
        """Whether it can be used; SlipwayError if it ended by itself."""
        ...

    def prepare(self) -> None:
        """Have in it what the others need: databases, users, buckets."""
        ...

    def stop(self) -> None:
        """End its processes."""
        ...


class Program:
    """See Service. One process, with nothing to be prepared in it."""

    def __init__(
        self, daemon: Daemon, command: Sequence[str], environment: Mapping[str, str], answers: Callable[[], bool]
    ) -> None:
        self.daemon = daemon
        self._command = command
        self._environment = environment
        self._answers = answers

    def start(self) -> None:
        """See Service."""
        self.daemon.start(self._command, self._environment)

    def answers(self) -> bool:
        """See Service."""
        self.daemon.check()
        return self._answers()

    def prepare(self) -> None:
        """See Service."""

    def stop(self) -> None:
        """See Service."""
        self.daemon.stop()


def http_status(url: str, timeout_s: float = 2.0) -> int | None:
    """How a server answers a GET; None if it does not."""
    try:
        with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(url, timeout=timeout_s) as answer:
            return int(answer.status)
    except urllib.error.HTTPError as error:
        return error.code
    except OSError:
        return None


def program(name: str, package: str, *places: str) -> str:
    """Where a program is: on PATH, or what the patterns `places` find; InputError if it is not installed."""
    found = [shutil.which(name), *(str(path) for place in places for path in sorted(Path("/").glob(place)))]
    for each in found:
        if each is not None:
            return each
    raise InputError(f"{name} is not on this machine; expected it. On Debian: apt-get install {package}")
