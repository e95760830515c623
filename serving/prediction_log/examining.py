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
_MOST_WAITING = 256  # images: worked off within a second or so once the load ends
_MOST_BYTES = 2**25

Embed = Callable[[str, int, Mapping[str, npt.NDArray[Any]]], npt.NDArray[Any] | None]


class Examined(NamedTuple):
    """A row of EXTRAS, and the model whose it is."""

    model: str
    row: dict[str, Any]


class _Image(NamedTuple):
    """One image of an answered request."""

    answer: Answer
    name: str  # of the input
    row: int
    size_bytes: int


class Examining:
    """Of one thread. in_flight: how many predictions are being answered. embed: the embeddings of a version's inputs.

    Fewer predictions than cores leave one free, and then everything is looked at; else one image, and then a rest that
    makes it a hundredth of a core's time. What finds no room to wait stays without.
    """

    def __init__(self, embed_sample: float, in_flight: Callable[[], int], embed: Embed) -> None:
        self._embed_sample = embed_sample
        self._in_flight = in_flight
        self._embed = embed
        self._cores = os.cpu_count() or 1
        self._waiting: deque[_Image] = deque()
        self._waiting_bytes = 0
        self._rest_until = 0.0

    def add(self, answer: Answer) -> None:
        """Have its images looked at some time, if it has any and there is room for all."""
        name, images = images_of(answer.inputs)
        if not name or len(images) != len(answer.classes) or len(self._waiting) + len(images) > _MOST_WAITING:
            return
        size = size_bytes(answer.inputs)
        if self._waiting_bytes + size <= _MOST_BYTES:
            self._waiting.extend(_Image(answer, name, row, size // len(images)) for row in range(len(images)))
            self._waiting_bytes += size // len(images) * len(images)

    def work(self, until: float) -> list[Examined]:
        """What was worked out until that moment of `time.monotonic`, or a little longer."""
        found: list[Examined] = []
        while self._waiting:
            began = time.monotonic()
            is_busy = self._in_flight() >= self._cores
            if began >= until or (is_busy and began < self._rest_until):
                break
            image = self._waiting.popleft()
            self._waiting_bytes -= image.size_bytes
            found.append(self._examined(image))
            self._rest_until = time.monotonic() + _RESTS * (time.monotonic() - began)
        return found

    def forget(self) -> None:
        """Leave what waits: its records are being rotated."""
        self._waiting.clear()
        self._waiting_bytes = 0

    def _examined(self, image: _Image) -> Examined:
        answer, name, row, _ = image
        assert answer.inputs is not None
        pixels = answer.inputs[name][row]
        seen = seen_properties(pixels, network_size(answer.signatures))
        keys = {"request_id": answer.request_id, "row": row}
        return Examined(answer.model, {**keys, "embedding": self._embedding(image), **seen})

    def _embedding(self, image: _Image) -> npt.NDArray[Any] | None:
        answer, name, row, _ = image
        if EMBED_SIGNATURES[name] not in answer.signatures or random.random() >= self._embed_sample:
            return None
        assert answer.inputs is not None
        found = self._embed(answer.model, answer.version, {name: answer.inputs[name][row : row + 1]})
        return found[0] if found is not None and found.ndim == 2 and len(found) == 1 else None
