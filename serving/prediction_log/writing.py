"""The server's side of the log: it takes answers in a microsecond, and writes them from a thread of its own.

Four times a second what has come is appended to journals, so that killing the process loses no more than that. Only
then is there time for what is worked out of images; parquet is made by another thread, beside it.
"""

import logging
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from secrets import token_hex
from typing import Any

from serving.prediction_log import deletions
from serving.prediction_log.clients import client_digest, client_key, make_key
from serving.prediction_log.columns import Answer, Labels, feedback_batch, records_batch
from serving.prediction_log.examining import Embed, Examining
from serving.prediction_log.pictures import images_of, kept_input
from serving.prediction_log.places import FOLDER_MODE, model_folder, size_bytes
from serving.prediction_log.retention import now_us, oldest_us, prune
from serving.prediction_log.rotation import rotate_abandoned
from serving.prediction_log.rules import NONE, LogCounts, LogRules
from serving.prediction_log.schema import EXTRAS, FEEDBACK, INPUTS, RECORDS, check_pyarrow, import_arrow, schema
from serving.prediction_log.segment import Segment
from serving.prediction_log.waiting import Waiting
from slipway.errors import InputError

_TICK_S = 0.25
_LOG = logging.getLogger(__name__)


class PredictionLog:
    """The log in `folder`, which is made. `offer`, `labelled` and `counts` may be called from any thread.

    InputError if pyarrow is missing, or the folder cannot be written.
    """

    def __init__(
        self,
        folder: Path,
        rules: LogRules,
        in_flight: Callable[[], int] = lambda: 0,
        embed: Embed = lambda _model, _version, _inputs: None,
    ) -> None:
        check_pyarrow()
        try:
            folder.mkdir(FOLDER_MODE, parents=True, exist_ok=True)
            if rules.key_file is None:
                make_key(folder)
        except OSError as error:
            raise InputError(
                f"--prediction_log={folder}: cannot be written ({error.strerror}); expected a folder that this user "
                "may write to. Name such a folder."
            ) from error
        self._key = client_key(folder, rules.key_file)
        self._folder = folder
        self._rules = rules
        self._examining = Examining(rules.embed_sample, in_flight, embed)
        self._waiting = Waiting()
        self._segments: dict[str, Segment] = {}
        self._server, self._segment_number = token_hex(8), 0
        self._deletions = deletions.state(folder)
        self._rotating = ThreadPoolExecutor(1, thread_name_prefix="log-rotation")
        self._counting = threading.Lock()
        self._records = self._dropped = 0
        self._complaint = ""
        self._ready, self._ending = threading.Event(), threading.Event()
        self._thread = threading.Thread(target=self._work, name="prediction-log", daemon=True)

    def start(self) -> None:
        """Begin to write, and take over what killed servers left."""
        self._rotating.submit(self._tidy)
        self._thread.start()

    def wait_ready(self) -> None:
        """Return when what is offered is written within the next moment; no answer should go out before."""
        self._ready.wait()

    def offer(self, answer: Answer) -> None:
        """Log an answer; where there is no room it is dropped, and counted."""
        if not self._waiting.add(answer):
            self.lost()

    def lost(self, requests: int = 1) -> None:
        """Count requests that are not logged although they should be."""
        with self._counting:
            self._dropped += requests

    def labelled(self, model: str, request_id: str, classes: tuple[int, ...]) -> None:
        """Log the true classes of an answered request's images."""
        if not self._waiting.add_labels(Labels(now_us(), model, request_id, classes)):
            self.lost()

    def counts(self) -> LogCounts:
        """As of now."""
        oldest = oldest_us(self._folder)
        return LogCounts(
            self._records, self._dropped, size_bytes(self._folder), None if oldest is None else oldest / 1e6
        )

    def close(self) -> None:
        """Write and rotate all that has come."""
        self._ending.set()
        if self._thread.ident is not None:
            self._thread.join()
        self._rotating.shutdown()

    def _work(self) -> None:
        import_arrow()
        self._ready.set()
        while not self._ending.wait(_TICK_S):
            self._guarded(self._tick)
        self._guarded(self._tick)
        self._rotate(list(self._segments))

    def _tick(self) -> None:
        until = time.monotonic() + _TICK_S
        answers, labels = self._waiting.take()
        for model, of_model in _by_model(answers).items():
            self._append(model, RECORDS, records_batch(of_model, self._digest), requests=len(of_model))
        for model, of_feedback in _by_model(labels).items():
            self._append(model, FEEDBACK, feedback_batch(of_feedback), requests=len(of_feedback))
        if self._rules.kept_inputs != NONE:
            self._append_rows(INPUTS, [row for answer in answers for row in self._kept(answer)])
        for answer in answers:
            self._examining.add(answer)
        del answers
        self._append_rows(EXTRAS, self._examining.work(until))
        self._rotate_due()

    def _rotate_due(self) -> None:
        due = [
            model
            for model, segment in self._segments.items()
            if segment.size_bytes >= self._rules.journal_bytes or segment.age_s >= self._rules.rotate_s
        ]
        seen = deletions.state(self._folder)
        if seen != self._deletions:
            self._deletions, due = seen, list(self._segments)
        self._rotate(due)

    def _rotate(self, models: list[str]) -> None:
        for model in models:
            self._rotating.submit(self._guarded, self._segments.pop(model).rotate)
        if models:
            self._examining.forget()
            self._rotating.submit(self._tidy)

    def _tidy(self) -> None:
        self._guarded(rotate_abandoned, self._folder)
        self._guarded(prune, self._folder, self._rules.most_bytes, self._rules.keep_s, now_us())

    def _append_rows(self, kind: str, found: Sequence[tuple[str, dict[str, Any]]]) -> None:
        import pyarrow as pa

        rows = defaultdict(list)
        for model, row in found:
            rows[model].append(row)
        for model, of_model in rows.items():
            self._append(model, kind, pa.RecordBatch.from_pylist(of_model, schema(kind)), requests=0)

    def _append(self, model: str, kind: str, batch: Any, requests: int) -> None:
        segment = self._segments.get(model)
        if segment is None:
            self._segment_number += 1
            stem = f"{self._server}-{self._segment_number:06d}"
            segment = self._segments[model] = Segment(model_folder(self._folder, model), stem)
        try:
            segment.append(kind, batch)
        except OSError as error:
            self.lost(requests)
            self._complain(f"--prediction_log={self._folder}: cannot be written ({error.strerror}); rows are dropped")
            return
        if kind == RECORDS:
            self._records += batch.num_rows

    def _kept(self, answer: Answer) -> list[tuple[str, dict[str, Any]]]:
        _, images = images_of(answer.inputs)
        return [
            (
                answer.model,
                {"request_id": answer.request_id, "row": row, **kept_input(image, self._rules.kept_inputs)},
            )
            for row, image in enumerate(images)
        ]

    def _digest(self, client: str) -> str:
        return client_digest(self._key, client)

    def _guarded(self, work: Callable[..., Any], *arguments: object) -> None:
        try:
            work(*arguments)
        except Exception as error:  # noqa: BLE001  the log must never take the server with it
            self._complain(f"prediction log: {type(error).__name__}: {error}")

    def _complain(self, text: str) -> None:
        if text != self._complaint:
            self._complaint = text
            _LOG.error("%s", text)


def _by_model(items: Sequence[Any]) -> dict[str, list[Any]]:
    found: dict[str, list[Any]] = defaultdict(list)
    for item in items:
        found[item.model].append(item)
    return found
