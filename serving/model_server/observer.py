"""What is observed of a request when it leaves the version that answered it."""

import random
from collections.abc import Callable
from secrets import token_hex

from serving.model_server.answered import Answered
from serving.model_server.errors import ServingError
from serving.model_server.lifecycle import ServedModel
from serving.model_server.request import Request
from serving.model_server.shadows import Copy, Shadows
from serving.model_server.tally import confidence_of, first_classes
from serving.model_server.version import Lease, State
from serving.observations import Observations
from serving.wire.status_pb2 import Code

_SERVER = token_hex(8)


Log = Callable[[Lease, Request, tuple[int, ...]], None]


class Observer:
    """Counts, remembers, copies and logs. Every method may be called from any thread.

    log: told of each request that was answered by classes.
    """

    def __init__(self, answered: Answered, shadows: Shadows, log: Log | None = None) -> None:
        self._answered = answered
        self._shadows = shadows
        self._log = log

    def left(self, lease: Lease, request: Request, error: BaseException | None) -> None:
        """A request leaves a version; called by the thread that ran it, before the answer is sent.

        Requests that named a version or a label are remembered for feedback, and not counted: what they are was not
        left to chance.
        """
        if error is not None:
            if lease.assigned is not None and (request.run_failed or _is_internal(error)):
                lease.tally.failed()
            return
        outputs = request.runs[-1].found if request.runs else {}
        classes = first_classes(outputs)
        if classes:
            counted = lease.assigned is not None
            self._answered.remember(request.id, lease.tally, classes, counted=counted, model=lease.model)
            if self._log is not None:
                self._log(lease, request, classes)
        if lease.assigned is not None:
            lease.tally.answered(request.run_s, confidence_of(outputs))
            if lease.assigned.shadow and random.random() * 100 < lease.assigned.shadow:
                self._shadows.offer(Copy(request.id, lease.number, request.runs, classes, lease.assigned.canary))


def observations(model: ServedModel) -> Observations:
    """What was observed of each AVAILABLE version of a model, highest first."""
    return Observations(
        _SERVER,
        model.name,
        tuple(
            version.tally.snapshot(version.number, version.label)
            for version in model.versions()
            if version.state == State.AVAILABLE
        ),
    )


def _is_internal(error: BaseException) -> bool:
    return not isinstance(error, ServingError) or error.code == Code.INTERNAL
