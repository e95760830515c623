"""A worker's process, started again when it or another worker is gone: who is left cannot go on without the others.

All of them start again from the last epoch that the chief kept. This process has no TensorFlow in it, so signals reach
it at once, and it ends when it is told to.
"""

import json
import os
import select
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from typing import Any

from pipeline.distribution.meeting import gone, listening, meet
from pipeline.distribution.place import Place
from pipeline.progress import report
from serving.targets import leash
from slipway import errors
from slipway.errors import SlipwayError, UnavailableError

_WORKING = "pipeline.distribution.working"
_TRIES = 5  # without an epoch between them
_JOIN_S = 300.0  # from the meeting until TensorFlow has started everywhere
_LOOK_S = 0.5
_PARTING_S = 60.0  # for a process that is done to see the others done


@dataclass(frozen=True)
class Job:
    """What a worker's process is to do. config: as JSON; run_id: the chief's run, None for the other workers."""

    config: str
    run_id: str | None


def supervised(job: Job, place: Place, peer_timeout_s: float) -> Mapping[str, Any] | None:
    """Have the job done, however often the process has to start; what the chief trained, None for the others.

    UnavailableError when others do not come within `peer_timeout_s`, or the process ends again and again.
    """
    tries = 0
    while True:
        with ExitStack() as held:
            ended = _one_try(job, place, meet(place, peer_timeout_s, held))
        if ended.event == "done":
            return ended.more.get("trained")
        if ended.event == "failed":
            raise _error(ended.more)
        tries = 0 if ended.epochs else tries + 1
        if tries == _TRIES:
            raise UnavailableError(
                f"{place.name}: no epoch was learned in {tries} starts, the last time because {ended.reason}; expected "
                "workers that stay. Look at what each of them says, and at its memory, then start them again; the "
                "chief with --resume."
            )
        report(f"{place.name}: {ended.reason}; starting again from the last epoch that was kept")


@dataclass(frozen=True)
class _Ended:
    """How a process ended. event: its last one, or "ended" where it said none; epochs: how many it learned."""

    event: str
    more: Mapping[str, Any]
    epochs: int
    reason: str


def _one_try(job: Job, place: Place, others: list[socket.socket]) -> _Ended:
    listening(place).close()
    joined, epochs = False, 0
    deadline = time.monotonic() + _JOIN_S
    with _process(job) as process:
        while True:
            line = _next_line(process)
            if line is None:
                # Once TensorFlow has started everywhere, it notices by itself who is gone.
                if not joined and gone(others):
                    return _Ended("ended", {}, 0, "another worker went while TensorFlow started")
                if not joined and time.monotonic() > deadline:
                    return _Ended("ended", {}, 0, f"TensorFlow has not started everywhere within {_JOIN_S:g} s")
                continue
            if not line:
                return _Ended("ended", {}, epochs, _death(process.wait(), place))
            said = json.loads(line)
            event = said.pop("event")
            joined = joined or event == "joined"
            epochs += event == "epoch"
            if event in ("done", "failed", "lost"):
                with suppress(subprocess.TimeoutExpired):
                    process.wait(_PARTING_S)
                return _Ended(event, said, epochs, f"another worker is gone ({said.get('kind')})")


def _death(code: int, place: Place) -> str:
    """Why a process ended that did not say so; an exit code is nothing that another start would change."""
    if code < 0:
        return f"its process ended by signal {-code}"
    raise SlipwayError(
        f"{place.name}: its process failed with exit code {code}; expected it to train. What it says above is an error "
        "of Slipway or of this machine: mend that, then start all workers again."
    )


@contextmanager
def _process(job: Job) -> "Iterator[subprocess.Popen[bytes]]":
    # On a leash: it ends when this process is killed. In a group of its own: Ctrl-C reaches only us, and we end it.
    process = subprocess.Popen(
        [sys.executable, "-I", "-S", leash.__file__, str(os.getpid()), sys.executable, "-m", _WORKING],
        env={**os.environ, "TF_CPP_MIN_LOG_LEVEL": os.environ.get("TF_CPP_MIN_LOG_LEVEL", "3")},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        bufsize=0,
        process_group=0,
    )
    assert process.stdin is not None
    try:
        process.stdin.write(json.dumps({"config": job.config, "run_id": job.run_id}).encode())
        process.stdin.close()
        yield process
    finally:
        # At once: one that waits for another worker hears nothing, and what it writes stands being killed.
        process.kill()
        process.wait()


def _next_line(process: "subprocess.Popen[bytes]") -> bytes | None:
    """The next line of its events, empty at their end; None if there is none yet."""
    assert process.stdout is not None
    ready, _, _ = select.select([process.stdout], [], [], _LOOK_S)
    return process.stdout.readline() if ready else None


def _error(said: Mapping[str, Any]) -> SlipwayError:
    """An error of the process, raised here as what it is."""
    kind = getattr(errors, said["kind"], SlipwayError)
    return kind(said["message"]) if issubclass(kind, SlipwayError) else SlipwayError(said["message"])
