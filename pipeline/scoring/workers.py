"""Processes, each with one thread that computes: a part is the work of one of them, from reading to writing."""

import multiprocessing
import os
import signal
import threading
import time
from collections.abc import Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import cache
from itertools import islice
from typing import TYPE_CHECKING

from pipeline.scoring.items import Item, Part, PartDone
from pipeline.scoring.output import Output, open_output
from pipeline.scoring.reading import NotReadError, Reader
from pipeline.scoring.rows import Answered, Stamp, part_file
from slipway.errors import UnavailableError

if TYPE_CHECKING:
    from multiprocessing.synchronize import Barrier

    from pipeline.scoring.classifying import Choice, Variant

_LOADED: "dict[Choice, Variant]" = {}  # of this process
_MEETING: "list[Barrier]" = []  # of all processes: where they begin together
_WAITING = 2  # parts for each process: the next one is there when it has finished


@dataclass(frozen=True)
class Job:
    """What every part has in common."""

    output: str
    stamp: Stamp
    scratch: str  # a folder of the run's own
    witnesses: tuple[Item, ...] = ()  # what a reader is to find out by whether S3 refuses images, or this run


class Workers:
    """So many processes that answer by the variant chosen."""

    def __init__(self, pool: ProcessPoolExecutor, choice: "Choice", count: int) -> None:
        self._pool, self._choice, self._count = pool, choice, count

    def variant(self) -> str:
        """The variant that answers here, once it has answered its golden requests; all processes keep to it."""
        with _broken():
            name = self._pool.submit(_variant_name, self._choice).result()
        self._choice = replace(self._choice, variant=name)
        return name

    def score(self, job: Job, parts: Iterator[Part]) -> Iterator[PartDone]:
        """Have the parts written; each is told of when it is, in whatever order. All processes begin together."""
        with _broken():
            met = [self._pool.submit(_meet, self._choice) for _ in range(self._count)]
            failed = [error for error in (each.exception() for each in met) if error is not None]
            for error in sorted(failed, key=lambda error: isinstance(error, threading.BrokenBarrierError)):
                raise error
            running: set[Future[PartDone]] = set()
            for part in parts:
                running.add(self._pool.submit(_score_part, self._choice, job, part))
                if len(running) >= _WAITING * self._count:
                    done, running = wait(running, return_when=FIRST_COMPLETED)
                    yield from (each.result() for each in done)
            while running:
                done, running = wait(running, return_when=FIRST_COMPLETED)
                yield from (each.result() for each in done)


@contextmanager
def started_workers(choice: "Choice", count: int) -> Iterator[Workers]:
    """Processes until the block ends; after a failure, or Ctrl-C, they are ended where they are."""
    context = multiprocessing.get_context("spawn")  # a fork would copy threads' locks
    pool = ProcessPoolExecutor(count, context, _begin, (context.Barrier(count),))
    try:
        yield Workers(pool, choice, count)
    except BaseException:
        for process in multiprocessing.active_children():
            process.terminate()
        raise
    finally:
        pool.shutdown(cancel_futures=True)


@contextmanager
def _broken() -> Iterator[None]:
    try:
        yield
    except BrokenProcessPool as error:
        raise UnavailableError(
            "a process that scores was killed; expected it to live (did the machine's memory suffice? --workers 1 "
            "takes the least). Run the same command again: finished parts are kept."
        ) from error


def _begin(meeting: "Barrier") -> None:
    """The command decides when to stop; and where it was killed, nobody waits for the answers."""
    _MEETING.append(meeting)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    parent = multiprocessing.parent_process()
    assert parent is not None

    def end_with_it() -> None:
        parent.join()
        os._exit(1)

    threading.Thread(target=end_with_it, daemon=True).start()


def _meet(choice: "Choice") -> None:
    """Load, and wait for the others: a process waits, so the next such call starts another one."""
    try:
        _loaded(choice)
        _MEETING[0].wait()
    except BaseException:
        _MEETING[0].abort()
        raise


def _variant_name(choice: "Choice") -> str:
    return _loaded(choice).name


def _loaded(choice: "Choice") -> "Variant":
    if choice not in _LOADED:
        from pipeline.scoring.classifying import Variant
        from serving.model_server.errors import ServingError

        try:
            variant = Variant(choice)
        except ServingError as error:  # it does not survive the way to the command
            raise UnavailableError(
                f"{choice.variant or choice.runtime}: {error.message}; expected it to load. Pass another --variant or "
                "--runtime, or look at this machine's memory."
            ) from error
        _LOADED[choice] = _LOADED[replace(choice, variant=variant.name)] = variant
    return _LOADED[choice]


@cache
def _opened(place: str) -> Output:
    return open_output(place)


@cache
def _reader(scratch: str, witnesses: tuple[Item, ...]) -> Reader:
    return Reader(scratch, witnesses)


def _score_part(choice: "Choice", job: Job, part: Part) -> PartDone:
    from pipeline.scoring.classifying import BATCH

    variant = _loaded(choice)
    began_s = time.monotonic()
    images: list[str] = []
    answered: list[Answered] = []
    read = _reader(job.scratch, job.witnesses).read(part)
    while batch := list(islice(read, BATCH)):
        good = [content for _, content in batch if isinstance(content, bytes)]
        answers = iter(variant.answers(good) if good else ())
        images += [item.image for item, _ in batch]
        answered += [Answered(error=str(c)) if isinstance(c, NotReadError) else next(answers) for _, c in batch]
    _opened(job.output).put(part.number, part_file(part, images, answered, job.stamp))
    failed = sum(each.error is not None for each in answered)
    return PartDone(part.number, len(answered), failed, began_s, time.monotonic())
