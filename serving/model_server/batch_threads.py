"""Batches of requests that come together, run by threads that all models share, in turn.

As TensorFlow Serving's SharedBatchScheduler: a batch is run as soon as a thread is free and it is full, or its first
request has waited for the timeout; a queue that is full refuses.
"""

import math
import threading
import time
from collections import OrderedDict, deque
from collections.abc import Callable, Hashable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Any

from serving.model_server.batching_parameters import BatchingParameters
from serving.model_server.errors import RefusedError, invalid_argument
from serving.wire.status_pb2 import Code


@dataclass(eq=False)
class Part:
    """Some rows of a request, all of them unless it was split; `done` is given their outputs."""

    request: Any
    rows: slice
    done: "Future[Any]" = field(default_factory=Future)

    @property
    def size(self) -> int:
        """The number of rows."""
        return int(self.rows.stop - self.rows.start)


RunBatch = Callable[[Sequence[Part]], None]


@dataclass(eq=False)
class _Batch:
    opened_at: float
    parts: list[Part] = field(default_factory=list)
    size: int = 0


class _Queue:
    """Batches that wait; only the last one still takes rows. Guarded by its owner's lock."""

    def __init__(self, rules: BatchingParameters, run: RunBatch) -> None:
        self.run = run
        self._rules = rules
        self._most = rules.max_execution_batch_size if rules.enable_large_batch_splitting else rules.max_batch_size
        self._batches: deque[_Batch] = deque()

    def add(self, request: Any, size: int, now: float) -> list[Part]:
        """Put a request's rows into batches; RefusedError UNAVAILABLE if there is no room."""
        if self._is_full(size):
            raise RefusedError(Code.UNAVAILABLE, "The batch scheduling queue to which this task was submitted is full")
        parts: list[Part] = []
        start = 0
        while start < size or not parts:
            batch = self._open(size - start, now)
            stop = min(size, start + self._most - batch.size)
            parts.append(Part(request, slice(start, stop)))
            batch.parts.append(parts[-1])
            batch.size += stop - start
            start = stop
        return parts

    def take(self, now: float) -> _Batch | None:
        """The next batch that may be run."""
        return self._batches.popleft() if self.due_at() <= now else None

    def due_at(self) -> float:
        """When the next batch may be run."""
        if not self._batches:
            return math.inf
        first = self._batches[0]
        waits = len(self._batches) == 1 and first.size < self._most
        return first.opened_at + (self._rules.batch_timeout_micros / 1e6 if waits else 0.0)

    def _is_full(self, size: int) -> bool:
        if not self._batches:
            return False
        held = self._batches[-1].size
        if not self._rules.enable_large_batch_splitting:
            return held + size > self._most and len(self._batches) >= self._rules.max_enqueued_batches
        return (len(self._batches) - 1) * self._most + held + size > self._rules.max_enqueued_batches * self._most

    def _open(self, size: int, now: float) -> _Batch:
        """The batch that takes the next rows of so many."""
        if self._batches:
            room = self._most - self._batches[-1].size
            if room >= size or (self._rules.enable_large_batch_splitting and room > 0):
                return self._batches[-1]
        self._batches.append(_Batch(now))
        return self._batches[-1]


class BatchThreads:
    """The threads, and a queue for each kind of request. Every method may be called from any thread."""

    def __init__(self, threads: int, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._changed = threading.Condition()
        self._queues: OrderedDict[Hashable, _Queue] = OrderedDict()
        for index in range(threads):
            threading.Thread(target=self._work, name=f"batch-{index}", daemon=True).start()

    def enqueue(self, kind: Hashable, request: Any, size: int, rules: BatchingParameters, run: RunBatch) -> list[Part]:
        """Have `request`, of `size` rows, run with others of its kind; the parts it was cut into, to wait for.

        ServingError INVALID_ARGUMENT if it is larger than a batch may be, RefusedError UNAVAILABLE if it
        finds the queue full.
        """
        if size > rules.max_batch_size:
            raise invalid_argument(f"Task size {size} is larger than maximum input batch size {rules.max_batch_size}")
        with self._changed:
            queue = self._queues.get(kind) or self._queues.setdefault(kind, _Queue(rules, run))
            parts = queue.add(request, size, self._clock())
            self._changed.notify()
        return parts

    def _work(self) -> None:
        while True:
            run, batch = self._next()
            run(batch.parts)

    def _next(self) -> tuple[RunBatch, _Batch]:
        with self._changed:
            while True:
                now = self._clock()
                for kind, queue in self._queues.items():
                    batch = queue.take(now)
                    if batch is not None:
                        self._after(kind, queue)
                        return queue.run, batch
                due_at = min((queue.due_at() for queue in self._queues.values()), default=math.inf)
                self._changed.wait(None if due_at == math.inf else due_at - now)

    def _after(self, kind: Hashable, queue: _Queue) -> None:
        """Others' turn; and another thread waits for what is left."""
        if queue.due_at() == math.inf:
            del self._queues[kind]
        else:
            self._queues.move_to_end(kind)
        if self._queues:
            self._changed.notify()
