"""The images of logged requests, looked at when the server has time to spare: never at the cost of an answer."""

import logging
import math
import os
import random
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import numpy.typing as npt

from serving.prediction_log.columns import Answer
from serving.prediction_log.pictures import EMBED_SIGNATURES, images_of, network_size, seen_properties
from serving.prediction_log.waiting import size_bytes

_RESTS = 99.0  # as long as an image took, before the next, while requests wait for a core: 1 % of one
_EMBEDDING_RESTS = 3.0  # as long as an embedding took, before the next, while any request is answered: 25 % of one
_MOST_WAITING = 256  # images: worked off within a second or so once the load ends
_MOST_BYTES = 2**25
_LOOK_S = 0.1  # whether a core is free
_FREE_S = 0.02  # a core counts as free when it was for so long: between two batches all are, for a moment

_LOG = logging.getLogger(__name__)

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
    """In a thread of its own. in_flight: how many predictions are being answered. embed: of a version's inputs.

    Fewer predictions than cores leave one free; if that lasts, everything is looked at; else one image, and then a rest
    that makes it a hundredth of a core's time. What finds no room to wait stays without.
    """

    def __init__(self, embed_sample: float, in_flight: Callable[[], int], embed: Embed) -> None:
        self._embed_sample = embed_sample
        self._in_flight = in_flight
        self._embed = embed
        self._cores = os.cpu_count() or 1
        self._changed = threading.Condition()
        self._waiting: deque[_Image] = deque()
        self._waiting_bytes = 0
        self._found: list[Examined] = []
        self._looks_at: _Image | None = None
        self._rest_until = self._no_embedding_until = 0.0
        self._free_since = math.inf
        self._complaint = ""
        # An image may take seconds, and the process may end meanwhile.
        self._thread = threading.Thread(target=self._work, name="log-images", daemon=True)

    def start(self) -> None:
        """Begin to look at what is added."""
        self._thread.start()

    def has_room(self, answer: Answer) -> bool:
        """Whether all its images may wait, as of now."""
        _, images = images_of(answer.inputs)
        size = self._waiting_bytes + size_bytes(answer.inputs)
        return len(self._waiting) + len(images) <= _MOST_WAITING and size <= _MOST_BYTES

    def add(self, answer: Answer) -> None:
        """Have its images looked at some time, if it has any and there is room for all."""
        name, images = images_of(answer.inputs)
        if not name or len(images) != len(answer.classes):
            return
        size = size_bytes(answer.inputs)
        with self._changed:
            if self.has_room(answer):
                self._waiting.extend(_Image(answer, name, row, size // len(images)) for row in range(len(images)))
                self._waiting_bytes += size // len(images) * len(images)
                self._changed.notify_all()

    def take(self) -> list[Examined]:
        """What was worked out since it was last taken."""
        with self._changed:
            found, self._found = self._found, []
        return found

    def forget(self) -> None:
        """Leave what waits, and what is looked at: its records are being rotated."""
        with self._changed:
            self._waiting.clear()
            self._waiting_bytes = 0
            self._found.clear()
            self._looks_at = None
            self._changed.notify_all()

    def finish(self, within_s: float) -> None:
        """Return when everything was looked at, or after that time."""
        with self._changed:
            self._changed.wait_for(lambda: not self._waiting and self._looks_at is None, within_s)

    def _work(self) -> None:
        while True:
            image = self._next()
            began = time.monotonic()
            found = self._examined(image)
            self._rest_until = time.monotonic() + _RESTS * (time.monotonic() - began)
            with self._changed:
                if found is not None and self._looks_at is image:
                    self._found.append(found)
                self._looks_at = None
                self._changed.notify_all()
            del image, found

    def _next(self) -> _Image:
        with self._changed:
            while True:
                if not self._waiting:
                    self._changed.wait_for(lambda: self._waiting)
                    self._free_since = math.inf
                rests_s = self._rest_until - time.monotonic()
                if self._has_free_core() or rests_s <= 0:
                    break
                self._changed.wait(min(rests_s, _LOOK_S))
            image = self._looks_at = self._waiting.popleft()
            self._waiting_bytes -= image.size_bytes
            return image

    def _has_free_core(self) -> bool:
        """Whether each look since a while ago found one free."""
        now = time.monotonic()
        self._free_since = math.inf if self._in_flight() >= self._cores else min(self._free_since, now)
        return now - self._free_since >= _FREE_S

    def _examined(self, image: _Image) -> Examined | None:
        """None for one that cannot be looked at, which is said once."""
        answer, name, row, _ = image
        assert answer.inputs is not None
        try:
            seen = seen_properties(answer.inputs[name][row], network_size(answer.signatures))
            keys = {"request_id": answer.request_id, "row": row}
            return Examined(answer.model, {**keys, "embedding": self._embedding(image), **seen})
        except Exception as error:  # noqa: BLE001  an image of any make, and the network's own errors
            if str(error) != self._complaint:
                self._complaint = str(error)
                _LOG.warning("prediction log: an image of %s: %s: %s", answer.model, type(error).__name__, error)
            return None

    def _embedding(self, image: _Image) -> npt.NDArray[Any] | None:
        answer, name, row, _ = image
        if EMBED_SIGNATURES[name] not in answer.signatures or random.random() >= self._embed_sample:
            return None
        began = time.monotonic()
        if self._in_flight() and began < self._no_embedding_until:
            return None
        assert answer.inputs is not None
        found = self._embed(answer.model, answer.version, {name: answer.inputs[name][row : row + 1]})
        self._no_embedding_until = time.monotonic() + _EMBEDDING_RESTS * (time.monotonic() - began)
        return found[0] if found is not None and found.ndim == 2 and len(found) == 1 else None
