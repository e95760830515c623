"""The images of logged requests, looked at when the server has time to spare: never at the cost of an answer."""

import os
import random
import time
from collections import deque
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import numpy.typing as npt

from serving.prediction_log.columns import Answer
from serving.prediction_log.pictures import EMBED_SIGNATURES, images_of, network_size, seen_properties
from serving.prediction_log.waiting import size_bytes

_RESTS = 99.0  # as long as an image took, before the next, while requests wait for a core: 1 % of one
_MOST_WAITING = 256  # worked off within a second or so once the load ends
_MOST_BYTES = 2**25
_MOST_EMBEDDED = 32  # images of one request

Embed = Callable[[str, int, Mapping[str, npt.NDArray[Any]]], npt.NDArray[Any] | None]


class Examined(NamedTuple):
    """A row of EXTRAS, and the model whose it is."""

    model: str
    row: dict[str, Any]


class Examining:
    """Of one thread. in_flight: how many predictions are being answered. embed: the embeddings of a version's inputs.

    Fewer predictions than cores leave one free, and then everything is looked at; else one thing, and then a rest that
    makes it a hundredth of a core's time. What cannot wait any more stays without.
    """

    def __init__(self, embed_sample: float, in_flight: Callable[[], int], embed: Embed) -> None:
        self._embed_sample = embed_sample
        self._in_flight = in_flight
        self._embed = embed
        self._cores = os.cpu_count() or 1
        self._waiting: deque[Answer] = deque()
        self._waiting_bytes = 0
        self._rest_until = 0.0

    def add(self, answer: Answer) -> None:
        """Have its images looked at some time, if it has any and there is room."""
        name, images = images_of(answer.inputs)
        size = size_bytes(answer.inputs)
        has_room = len(self._waiting) < _MOST_WAITING and self._waiting_bytes + size <= _MOST_BYTES
        if name and len(images) == len(answer.classes) and has_room:
            self._waiting.append(answer)
            self._waiting_bytes += size

    def work(self, until: float) -> list[Examined]:
        """What was worked out until that moment of `time.monotonic`."""
        found: list[Examined] = []
        while self._waiting:
            began = time.monotonic()
            is_busy = self._in_flight() >= self._cores
            if began >= until or (is_busy and began < self._rest_until):
                break
            answer = self._waiting.popleft()
            self._waiting_bytes -= size_bytes(answer.inputs)
            found += self._examined(answer)
            self._rest_until = time.monotonic() + _RESTS * (time.monotonic() - began)
        return found

    def forget(self) -> None:
        """Leave what waits: its records are being rotated."""
        self._waiting.clear()
        self._waiting_bytes = 0

    def _examined(self, answer: Answer) -> list[Examined]:
        _, images = images_of(answer.inputs)
        size = network_size(answer.signatures)
        embeddings = self._embeddings(answer)
        return [
            Examined(
                answer.model,
                {
                    "request_id": answer.request_id,
                    "row": row,
                    "embedding": None if embeddings is None else embeddings[row],
                    **seen_properties(image, size),
                },
            )
            for row, image in enumerate(images)
        ]

    def _embeddings(self, answer: Answer) -> npt.NDArray[Any] | None:
        name, images = images_of(answer.inputs)
        if len(images) > _MOST_EMBEDDED or EMBED_SIGNATURES[name] not in answer.signatures:
            return None
        if answer.inputs is None or random.random() >= self._embed_sample:
            return None
        found = self._embed(answer.model, answer.version, answer.inputs)
        return found if found is not None and found.ndim == 2 and len(found) == len(images) else None
