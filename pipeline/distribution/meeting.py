"""Workers meet before TensorFlow starts in any of them: each start begins with all of them there, and none left over.

TensorFlow's own meeting hangs when one worker is still in the training that another has left. So the chief listens at
its address until every other worker has come, then sends them all off, and leaves the address to TensorFlow.
"""

import json
import select
import socket
import time
from contextlib import ExitStack

from pipeline.distribution.place import VARIABLE, Place, split_address
from slipway.errors import ConflictError, UnavailableError

_GO = b"go\n"
_LONGEST = 4096  # bytes of what a worker says
_LOOK_S = 0.5
_TAKEN_S = 3.0  # for which a port is tried again: a process that starts holds what its parent listened at for a moment


def meet(place: Place, timeout_s: float, held: ExitStack) -> list[socket.socket]:
    """Return when all workers are in this call; UnavailableError, naming who is missing, after `timeout_s`.

    Returns the connections to the other workers, or to the chief, which `held` closes. One that can be read has been
    closed at its other end: that worker has gone from what it met for.
    """
    deadline = time.monotonic() + timeout_s
    connections: list[socket.socket] = []
    missing = (_gathered if place.is_chief else _reported)(place, deadline, connections)
    for each in connections:
        held.enter_context(each)
    if missing:
        raise UnavailableError(
            f"{place.name}: the workers have not met within {timeout_s:g} s; {missing}; expected every worker to run "
            f"`slipway train --distribute` with the same cluster in {VARIABLE}. Start those, or see that the addresses "
            "can be reached from each other, then start this worker again."
        )
    return connections


def listening(place: Place) -> socket.socket:
    """A listener at this worker's port; ConflictError if it cannot be taken."""
    _, port = split_address(place.addresses[place.index])
    deadline = time.monotonic() + _TAKEN_S
    while True:
        try:
            return socket.create_server(("", port))
        except OSError as error:
            if time.monotonic() > deadline:
                raise ConflictError(
                    f"{VARIABLE}: port {port} of {place.name} cannot be taken ({error.strerror}); expected a free port "
                    "on this machine. End what listens there, or give this worker another port, on all workers."
                ) from error
        time.sleep(_TAKEN_S / 30)


def gone(connections: list[socket.socket]) -> bool:
    """Whether one of the connections of a meeting has been closed at its other end."""
    return bool(select.select(connections, [], [], 0)[0])


def _gathered(place: Place, deadline: float, connections: list[socket.socket]) -> str:
    """Wait for the others and send them off; who is missing, in words, or nothing."""
    expected = set(range(1, place.workers))
    with ExitStack() as held:
        listener = held.enter_context(listening(place))
        unknown: list[socket.socket] = []
        present: dict[int, socket.socket] = {}
        while set(present) != expected:
            if time.monotonic() > deadline:
                return ", ".join(f"worker {n} ({place.addresses[n]}) has not come" for n in expected - set(present))
            ready, _, _ = select.select([listener, *unknown, *present.values()], [], [], _LOOK_S)
            if listener in ready:
                unknown.append(held.enter_context(listener.accept()[0]))
            for each in [each for each in unknown if each in ready]:
                unknown.remove(each)
                number = _number(each)
                if number in expected:
                    present[number] = each
            # Who has come says nothing more: what is to be read is that it has gone.
            present = {number: each for number, each in present.items() if not gone([each])}
        connections += [each.dup() for each in present.values()]
        for each in connections:
            each.sendall(_GO)
    return ""


def _reported(place: Place, deadline: float, connections: list[socket.socket]) -> str:
    """Tell the chief that this worker is here, until it sends it off; who is missing, in words, or nothing."""
    said = json.dumps({"worker": place.index}).encode() + b"\n"
    missing = ""
    while True:
        try:
            with socket.create_connection(split_address(place.addresses[0]), _LOOK_S) as chief:
                chief.sendall(said)
                answer = _answer(chief, deadline)
                if answer == _GO:
                    connections.append(chief.dup())
                    return ""
            missing = f"worker 0 ({place.addresses[0]}) " + ("waits for others" if answer is None else "is not there")
        except OSError:
            missing = f"worker 0 ({place.addresses[0]}) cannot be reached"
        if time.monotonic() > deadline:
            return missing
        time.sleep(_LOOK_S)


def _answer(chief: socket.socket, deadline: float) -> bytes | None:
    """What the chief answers, empty if it goes; None after the deadline."""
    while time.monotonic() <= deadline:
        if select.select([chief], [], [], _LOOK_S)[0]:
            return chief.recv(_LONGEST)
    return None


def _number(connection: socket.socket) -> int | None:
    """Which worker speaks; None if it is none."""
    try:
        said = json.loads(connection.recv(_LONGEST))
        return int(said["worker"])
    except (OSError, ValueError, TypeError, KeyError):
        return None
