"""Answers on their way to the log: a queue that nobody ever waits for."""

import threading
from collections.abc import Mapping
from typing import Any

import numpy.typing as npt

from serving.prediction_log.columns import Answer, Labels

_MOST_ANSWERS = 8192
_MOST_BYTES = 2**26  # of inputs that wait, and of outputs


class Waiting:
    """What any thread may add, and one takes. An answer without room is dropped; inputs without room are left out."""

    def __init__(self, most_answers: int = _MOST_ANSWERS, most_bytes: int = _MOST_BYTES) -> None:
        self._most_answers = most_answers
        self._most_bytes = most_bytes
        self._lock = threading.Lock()
        self._answers: list[Answer] = []
        self._labels: list[Labels] = []
        self._input_bytes = self._output_bytes = 0

    def add(self, answer: Answer) -> bool:
        """Whether there was room."""
        input_bytes = size_bytes(answer.inputs)
        output_bytes = 0 if answer.output is None else answer.output.nbytes
        with self._lock:
            if len(self._answers) >= self._most_answers or self._output_bytes + output_bytes > self._most_bytes:
                return False
            if self._input_bytes + input_bytes > self._most_bytes:
                answer = answer._replace(inputs=None)
            else:
                self._input_bytes += input_bytes
            self._output_bytes += output_bytes
            self._answers.append(answer)
            return True

    def add_labels(self, labels: Labels) -> bool:
        """Whether there was room."""
        with self._lock:
            if len(self._labels) >= self._most_answers:
                return False
            self._labels.append(labels)
            return True

    def take(self) -> tuple[list[Answer], list[Labels]]:
        """All that there is, in the order that it came in."""
        with self._lock:
            answers, self._answers = self._answers, []
            labels, self._labels = self._labels, []
            self._input_bytes = self._output_bytes = 0
        return answers, labels


def size_bytes(inputs: Mapping[str, npt.NDArray[Any]] | None) -> int:
    """Of a request's inputs."""
    if inputs is None:
        return 0
    return sum(sum(map(len, rows.flat)) if rows.dtype == object else rows.nbytes for rows in inputs.values())
