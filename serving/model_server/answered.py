"""The last answers, by their request ids: what was predicted, until somebody says what was to be."""

import sys
import threading
from array import array
from collections import deque
from collections.abc import Callable, Sequence
from typing import NamedTuple

from serving.model_server.errors import invalid_argument
from serving.model_server.tally import Tally

Truth = tuple[str | int, ...]
OnLabelled = Callable[[str, str, tuple[int, ...]], None]
_MOST = 100_000
_MOST_IMAGES = 200_000  # of all answers together: one may be to hundreds
_FEW = 5  # names of classes in an error


class Feedback(NamedTuple):
    """The true class of each image of an answered request, by name or by id."""

    request_id: str
    truth: Truth


class _Answer:
    """`tally` counts the answering version's labels; `shadow` that of one that ran a copy. Classes are packed."""

    __slots__ = ("classes", "counted", "model", "shadow", "shadow_classes", "tally", "truth")

    def __init__(self, tally: Tally, classes: bytes, *, counted: bool, model: str) -> None:
        self.model = model
        self.tally = tally
        self.classes = classes
        self.counted = counted
        self.shadow: Tally | None = None
        self.shadow_classes = b""
        self.truth: Truth = ()

    @property
    def images(self) -> int:
        """How many it is of."""
        return len(_unpacked(self.classes))


class Answered:
    """Remembers the last `most` answers, or fewer: of `most_images` images. Any thread may call every method.

    on_labelled: told the model, the request id and the true classes of each answer that labels came for.
    """

    def __init__(
        self,
        most: int = _MOST,
        most_images: int = _MOST_IMAGES,
        on_labelled: OnLabelled = lambda _model, _request_id, _classes: None,
    ) -> None:
        self._on_labelled = on_labelled
        self._most = most
        self._most_images = most_images
        self._images = 0
        self._lock = threading.Lock()
        self._answers: dict[str, _Answer] = {}
        self._order: deque[str] = deque()

    def remember(
        self, request_id: str, tally: Tally, classes: tuple[int, ...], *, counted: bool, model: str = ""
    ) -> None:
        """The version with that tally answered; `counted`: whether labels that come count as observations of it."""
        answer = _Answer(tally, _packed(classes), counted=counted, model=model)
        with self._lock:
            self._answers[request_id] = answer
            self._order.append(request_id)
            self._images += len(classes)
            while len(self._order) > self._most or self._images > self._most_images:
                self._images -= self._answers.pop(self._order.popleft()).images

    def shadowed(self, request_id: str, tally: Tally, classes: tuple[int, ...]) -> None:
        """The version with that tally ran a copy of an answered request."""
        with self._lock:
            answer = self._answers.get(request_id)
            if answer is not None and len(classes) == answer.images:
                answer.shadow, answer.shadow_classes = tally, _packed(classes)
                _count_shadow(answer, (), answer.truth)

    def attach(self, feedback: Sequence[Feedback]) -> tuple[int, list[str]]:
        """Count true labels; a later one for the same id takes the earlier one's place.

        Returns how many ids got theirs, and the ids that are not remembered. ServingError INVALID_ARGUMENT, and nothing
        is counted, for a label that the version does not have, or another number of labels than of images.
        """
        with self._lock:
            found = [(item, self._answers.get(item.request_id)) for item in feedback]
        known = [(item, answer) for item, answer in found if answer is not None]
        for item, answer in known:
            _check(item, answer)
        for item, answer in known:
            with self._lock:  # taken anew for each: predictions wait for it
                # One name for all that have it: those of a body are new.
                truth = tuple(sys.intern(label) if isinstance(label, str) else label for label in item.truth)
                _count(answer, truth)
            self._on_labelled(answer.model, item.request_id, _true_classes(answer, item))
        return len(known), [item.request_id for item, answer in found if answer is None]


def _count(answer: _Answer, truth: Truth) -> None:
    """In the place of the labels before, in one step: whoever reads between two would see a label less."""
    before, answer.truth = answer.truth, truth
    if answer.counted:
        correct = _correct(answer.tally, answer.classes, truth) - _correct(answer.tally, answer.classes, before)
        answer.tally.labelled(len(truth) - len(before), correct)
    _count_shadow(answer, before, truth)


def _count_shadow(answer: _Answer, before: Truth, truth: Truth) -> None:
    shadow, classes = answer.shadow, answer.shadow_classes
    if shadow is not None:
        correct = _correct(shadow, classes, truth) - _correct(shadow, classes, before)
        shadow.labelled(len(truth) - len(before), correct, shadow=True)


def _correct(tally: Tally, classes: bytes, truth: Truth) -> int:
    """None of no labels: there are as many as images, or none yet."""
    found = _unpacked(classes) if truth else ()
    return sum(_class_id(tally, label) == class_id for label, class_id in zip(truth, found, strict=True))


def _packed(classes: tuple[int, ...]) -> bytes:
    return array("q", classes).tobytes()  # an array of its own is larger, for the one image of most answers


def _unpacked(classes: bytes) -> memoryview:
    return memoryview(classes).cast("q")


def _class_id(tally: Tally, label: str | int) -> int | None:
    return label if isinstance(label, int) else tally.identity.classes.get(label)


def _true_classes(answer: _Answer, item: Feedback) -> tuple[int, ...]:
    """The labels' ids; `_check` has found that each has one."""
    return tuple(class_id for label in item.truth if (class_id := _class_id(answer.tally, label)) is not None)


def _check(item: Feedback, answer: _Answer) -> None:
    if len(item.truth) != answer.images:
        raise invalid_argument(
            f"request id {item.request_id}: {len(item.truth)} labels for {answer.images} images. "
            "Send a label for each image, in order."
        )
    labels = answer.tally.identity.labels
    for label in item.truth:
        class_id = _class_id(answer.tally, label)
        if not labels and class_id is None:
            raise invalid_argument(
                f"request id {item.request_id}: label {label!r:.80}, and the version has no names of classes. "
                "Send the class's id."
            )
        if labels and (class_id is None or class_id >= len(labels)):
            few = ", ".join(repr(name) for name in labels[:_FEW])
            raise invalid_argument(
                f"request id {item.request_id}: label {label!r:.80} is unknown; expected one of the version's "
                f"{len(labels)} classes, as {few}, or a class's id from 0 to {len(labels) - 1}."
            )
