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
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from pipeline.distribution.place import VARIABLE, Place, split_address
from pipeline.progress import report
from serving.targets import leash
from slipway import errors
from slipway.errors import ConflictError, SlipwayError, UnavailableError

_WORKING = "pipeline.distribution.working"
_TRIES = 5  # without an epoch between them
_PAUSE_S = 1.0
_LOOK_S = 1.0  # at an address, to say whether anybody answers there


@dataclass(frozen=True)
class Job:
    """What a worker's process is to do. config: as JSON; run_id: the chief's run, None for the other workers."""

    config: str
    run_id: str | None


def supervised(job: Job, place: Place, peer_timeout_s: float) -> Mapping[str, Any] | None:
    """Have the job done, however often the process has to start; what the chief trained, None for the others.

    UnavailableError when others do not come within `peer_timeout_s`, or the process ends again and again.
    """
    tries, waiting_since = 0, time.monotonic()
    while True:
        ended = _one_try(job, place, waiting_since + peer_timeout_s, peer_timeout_s)
        if ended.event == "done":
            return ended.more.get("trained")
        if ended.event == "failed":
            raise _error(ended.more)
        if ended.joined:
            waiting_since = time.monotonic()
        # Who has not met the others yet waits for them: `peer_timeout_s` bounds that.
        tries = 0 if ended.epochs else tries + 1
        if tries >= _TRIES and (ended.joined or ended.event == "ended"):
            raise UnavailableError(
                f"{place.name}: its process ended {tries} times without an epoch between, the last time with "
                f"{ended.reason}; expected an epoch to be learned. Look at what the workers said above and at each "
                "one's memory, then start them again; the chief with --resume."
            )
        report(f"{place.name}: {ended.reason}; starting again from the last epoch that was kept")
        time.sleep(_PAUSE_S)


@dataclass(frozen=True)
class _Ended:
    """How a process ended. event: its last one, or "ended" where it died; epochs: how many it learned."""

    event: str
    more: Mapping[str, Any]
    joined: bool
    epochs: int
    reason: str


def _one_try(job: Job, place: Place, deadline: float, peer_timeout_s: float) -> _Ended:
    check_port(place)
    joined, epochs = False, 0
    with _process(job) as process:
        while True:
            line = _next_line(process, None if joined else deadline)
            if line is None:
                raise _nobody(place, peer_timeout_s)
            if not line:
                code = process.wait()
                if code > 0:  # nothing that another start would change, as a signal may be
                    raise SlipwayError(
                        f"{place.name}: its process failed with exit code {code}; expected it to train. What it says "
                        "above is an error of Slipway or of this machine: mend that, then start all workers again."
                    )
                return _Ended("ended", {}, joined, epochs, f"its process ended by signal {-code}")
            said = json.loads(line)
            event = said.pop("event")
            joined = joined or event == "joined"
            epochs += event == "epoch"
            if event in ("done", "failed", "lost"):
                process.wait()
                return _Ended(event, said, joined, epochs, f"another worker is gone ({said.get('kind')})")


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


def _next_line(process: "subprocess.Popen[bytes]", deadline: float | None) -> bytes | None:
    """The next line of its events, empty at their end; None after the deadline."""
    assert process.stdout is not None
    wait_s = None if deadline is None else max(0.0, deadline - time.monotonic())
    ready, _, _ = select.select([process.stdout], [], [], wait_s)
    return process.stdout.readline() if ready else None


def check_port(place: Place) -> None:
    """ConflictError unless this worker's port can be taken."""
    _, port = split_address(place.addresses[place.index])
    with socket.socket() as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # not hindered by what has just ended
        try:
            listener.bind(("", port))
        except OSError as error:
            raise ConflictError(
                f"{VARIABLE}: port {port} of {place.name} cannot be taken ({error.strerror}); expected a free port on "
                "this machine. End what listens there, or give this worker another port, on all workers."
            ) from error


def _nobody(place: Place, waited_s: float) -> UnavailableError:
    silent = [address for address in place.others if not _answers(address)]
    who = ", ".join(silent) + " cannot be reached" if silent else "all addresses answer, but not all have joined"
    return UnavailableError(
        f"{place.name}: the workers have not met within {waited_s:g} s: {who}; expected each of them to run "
        f"`slipway train --distribute` with the same cluster in {VARIABLE}. Start them, or see that this machine "
        "reaches them, then start this one again."
    )


def _answers(address: str) -> bool:
    try:
        socket.create_connection(split_address(address), _LOOK_S).close()
    except OSError:
        return False
    return True


def _error(said: Mapping[str, Any]) -> SlipwayError:
    """An error of the process, raised here as what it is."""
    kind = getattr(errors, said["kind"], SlipwayError)
    return kind(said["message"]) if issubclass(kind, SlipwayError) else SlipwayError(said["message"])
