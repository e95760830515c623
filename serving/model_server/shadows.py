"""Shadows: the canary runs copies of requests that another version has answered, so that no request feels it."""

import os
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from queue import Full, Queue

from serving.model_server.answered import Answered
from serving.model_server.errors import RefusedError
from serving.model_server.predict import run_signature
from serving.model_server.request import Run
from serving.model_server.tally import first_classes
from serving.model_server.version import Lease

_MOST_WAITING = 32
_MOST_BYTES = 2**26  # of the inputs that wait
_LOOK_S = 0.01
_RESTS = 24.0  # as long as a copy took: under 5 % of the requests meet one, and their 95th percentile does not


@dataclass(frozen=True)
class Copy:
    """An answered request. classes: the answer's, by image. canary: a lease on what is to run it, if there is such."""

    request_id: str
    version: int
    runs: Sequence[Run]
    classes: tuple[int, ...]
    canary: Callable[[], Lease | None]

    @property
    def size_bytes(self) -> int:
        """Of its inputs."""
        arrays = [array for run in self.runs for array in run.inputs.values()]
        return sum(sum(map(len, array.flat)) if array.dtype == object else array.nbytes for array in arrays)


class Shadows:
    """A thread that runs copies one by one, while fewer predictions are in flight than there are cores.

    It works a twenty-fifth of the time at most. What does not fit into its short queue meanwhile is dropped.
    """

    def __init__(
        self,
        answered: Answered,
        in_flight: Callable[[], int] = lambda: 0,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._answered = answered
        self._in_flight = in_flight
        self._sleep = sleep
        self._cores = os.cpu_count() or 1
        self._queue: Queue[Copy] = Queue(_MOST_WAITING)
        self._waiting_bytes = 0
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None

    def offer(self, copy: Copy) -> None:
        """Have the canary run it some time, if there is one that did not answer it itself; else nothing."""
        lease = copy.canary()
        if lease is None:
            return
        with lease:
            if lease.number != copy.version and not self._put(copy):
                lease.tally.dropped()

    def _put(self, copy: Copy) -> bool:
        size_bytes = copy.size_bytes
        with self._lock:
            if self._waiting_bytes + size_bytes > _MOST_BYTES:
                return False
            try:
                self._queue.put_nowait(copy)
            except Full:
                return False
            self._waiting_bytes += size_bytes
            if self._thread is None:
                self._thread = threading.Thread(target=self._work, name="shadow", daemon=True)
                self._thread.start()
            return True

    def _work(self) -> None:
        while True:
            copy = self._queue.get()
            while self._in_flight() >= self._cores:
                self._sleep(_LOOK_S)
            with self._lock:
                self._waiting_bytes -= copy.size_bytes
            started = time.perf_counter()
            self._run(copy)
            del copy
            self._sleep(_RESTS * (time.perf_counter() - started))

    def _run(self, copy: Copy) -> None:
        lease = copy.canary()
        if lease is None or lease.number == copy.version:  # the label has moved meanwhile
            return
        with lease:
            started = time.perf_counter()
            try:
                for run in copy.runs:
                    found = run_signature(lease.runtime, run.signature, run.inputs, run.outputs)
            except RefusedError:
                lease.tally.dropped()
                return
            except Exception:  # noqa: BLE001  whatever it is, this version failed where another one answered
                lease.tally.failed(shadow=True)
                return
            took_s = time.perf_counter() - started
            classes = first_classes(found)
            pairs = list(zip(copy.classes, classes, strict=True)) if len(classes) == len(copy.classes) else []
            lease.tally.shadowed(took_s, len(pairs), sum(answer != shadow for answer, shadow in pairs))
            if classes:
                self._answered.shadowed(copy.request_id, lease.tally, classes)
