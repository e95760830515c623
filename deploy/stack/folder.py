"""The stack's folder: what is remembered from one start to the next, and what nobody else may read."""

import fcntl
import json
import os
import random
import secrets
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from slipway.errors import ConflictError, InputError
from slipway.files import write_atomically

_PORTS = range(20_000, 30_000)  # below those that outgoing connections take theirs from
_TRIES = 100
_MARK = (
    "this-is-a-slipway-stack"  # what the folder holds from the start on, so that no other one is taken for a stack's
)


class Folder:
    """A directory that is made at the first use. Others may pass through it (PostgreSQL's user), not look into it."""

    def __init__(self, path: Path) -> None:
        self.path = path.absolute()

    def make(self) -> None:
        """Have it there; InputError for a folder that holds anything else."""
        self.path.mkdir(exist_ok=True, parents=True)
        mark = self.path / _MARK
        if not mark.exists():
            if any(self.path.iterdir()):
                raise InputError(
                    f"{self.path}: holds what is no stack's; expected a folder that is new, empty, or was made by "
                    "`make stack`. Name another by --folder or SLIPWAY_STACK."
                )
            mark.touch()
        self.path.chmod(0o711)
        for name in ("secrets", "run", "log"):
            self.inside(name)

    def inside(self, name: str) -> Path:
        """A directory below it that is ours alone."""
        directory = self.path / name
        directory.mkdir(mode=0o700, exist_ok=True)
        return directory

    def password(self, name: str) -> str:
        """A password that is made, at random, when it is first asked for."""
        file = self.path / "secrets" / name
        if not file.exists():
            self.write_secret(name, secrets.token_urlsafe(24))
        return file.read_text(encoding="ascii")

    def write_secret(self, name: str, text: str) -> Path:
        """A file that only we can read, from its first byte on."""
        file = self.path / "secrets" / name
        temporary = file.with_name(f".{name}.{os.getpid()}")
        temporary.touch(0o600)
        temporary.write_text(text, encoding="utf-8")
        temporary.replace(file)
        return file

    def port(self, name: str) -> int:
        """The port of that name: the environment's (SLIPWAY_STACK_NAME_PORT), else the one it had, else a free one."""
        file = self.path / "ports.json"
        known: dict[str, int] = json.loads(file.read_text()) if file.exists() else {}
        wanted = _from_environment(name)
        if wanted is None:
            wanted = known.get(name) or _free_port(set(known.values()))
        if known.get(name) != wanted:
            write_atomically(file, json.dumps({**known, name: wanted}, indent=2).encode())
        return wanted

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Nobody else starts or ends the stack meanwhile; ConflictError if somebody does."""
        with (self.path / "lock").open("w") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise ConflictError(
                    f"{self.path}: this stack is being started or ended by another process. Wait for it to end."
                ) from None
            os.set_inheritable(file.fileno(), False)  # else it would be held for as long as what we start runs
            yield


def _from_environment(name: str) -> int | None:
    variable = f"SLIPWAY_STACK_{name.upper().replace('-', '_')}_PORT"
    text = os.environ.get(variable)
    if not text:
        return None
    if not text.isdecimal() or not 0 < int(text) < 65536:
        raise InputError(f"{variable} is {text!r}; expected a port's number. Correct it, or unset it.")
    return int(text)


def _free_port(taken: set[int]) -> int:
    for _ in range(_TRIES):
        port = random.choice(_PORTS)
        if port not in taken and is_free(port):
            return port
    raise InputError(f"no free port between {_PORTS.start} and {_PORTS.stop}; expected some. Name them by environment.")


def is_free(port: int) -> bool:
    """Whether nothing listens there on loopback."""
    try:
        socket.create_server(("127.0.0.1", port)).close()
    except OSError:
        return False
    return True
