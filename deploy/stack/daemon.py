"""A process that outlives whoever started it, and is found again by its pid."""

import os
import signal
import subprocess
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path

from deploy.stack.folder import Folder
from slipway.errors import SlipwayError, UnavailableError

_OURS = ("AWS_", "MLFLOW_", "PG", "SLIPWAY_")  # of our environment, what is meant for us and not for what we start
_POLL_S = 0.05


class Daemon:
    """One process, in a session of its own: `run/NAME.pid` says which, `log/NAME.log` what it said."""

    def __init__(self, name: str, folder: Folder) -> None:
        self.name = name
        self.log = folder.path / "log" / f"{name}.log"
        self._file = folder.path / "run" / f"{name}.pid"
        self._cwd = folder.path

    @property
    def pid(self) -> int | None:
        """Its pid; None if it does not run."""
        with suppress(FileNotFoundError, ValueError):
            pid, started = map(int, self._file.read_text().split())
            with suppress(ChildProcessError):  # one that we started ourselves is a zombie until we look
                os.waitpid(pid, os.WNOHANG)
            if _started(pid) == started:
                return pid
        return None

    def start(self, command: Sequence[str], environment: Mapping[str, str] | None = None) -> None:
        """Start it, unless it runs. environment: beside ours, less what that says of MLflow, S3 and databases."""
        if self.pid is not None:
            return
        if self.log.exists():
            self.log.replace(self.log.with_suffix(".log.1"))
        with self.log.open("wb") as output:
            process = subprocess.Popen(
                command,
                cwd=self._cwd,
                env={**inherited(), **(environment or {})},
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=True,
            )
        self._file.write_text(f"{process.pid} {_started(process.pid) or 0}")
        process.returncode = 0  # it is not ours to wait for: who looks for it next finds it by the file

    def check(self) -> None:
        """SlipwayError, with what it said last, if it does not run."""
        if self.pid is None:
            raise SlipwayError(
                f"{self.name} ended; expected it to run. Its log, {self.log}, ends with: {last_line(self.log)}"
            )

    def stop(self, number: int = signal.SIGTERM, timeout_s: float = 30.0) -> None:
        """End it and what it started: asked first, killed when it takes longer than that."""
        pid = self.pid
        if pid is not None:
            _signal(pid, number)
            deadline = time.monotonic() + timeout_s
            while self.pid is not None and time.monotonic() < deadline:
                time.sleep(_POLL_S)
            _signal(pid, signal.SIGKILL)
            while self.pid is not None:
                if time.monotonic() > deadline + timeout_s:
                    raise UnavailableError(f"{self.name}: process {pid} cannot be ended. Look at what it waits for.")
                time.sleep(_POLL_S)
        self._file.unlink(missing_ok=True)


def inherited() -> dict[str, str]:
    """Our environment, less what is meant for us alone."""
    return {key: value for key, value in os.environ.items() if not key.startswith(_OURS)}


def last_line(log: Path) -> str:
    """What a log ends with."""
    lines = log.read_text(errors="replace").splitlines() if log.exists() else []
    return next((line.strip() for line in reversed(lines) if line.strip()), "(nothing)")


def _signal(group: int, number: int) -> None:
    with suppress(ProcessLookupError):
        os.killpg(group, number)


def _started(pid: int) -> int | None:
    """When the process was started, in the kernel's ticks: a pid that is used again has another; None if it is gone."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return None
    return None if fields[0] in {"Z", "X"} else int(fields[19])
