"""The server's side of the log: it takes answers in a microsecond, and writes them from a thread of its own.

Four times a second what has come is appended to journals, so that killing the process loses no more than that. What is
worked out of images, and parquet, are made by other threads, beside it.
"""

import logging
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from secrets import token_hex
from typing import Any

from serving.prediction_log import deletions
from serving.prediction_log.clients import Clients
from serving.prediction_log.columns import Answer, Labels, feedback_batch, records_batch, rows_batch
from serving.prediction_log.examining import Embed, Examined, Examining
from serving.prediction_log.pictures import images_of, kept_input
from serving.prediction_log.places import FOLDER_MODE, model_folder, size_bytes
from serving.prediction_log.retention import now_us, oldest_us, prune
from serving.prediction_log.rules import NONE, LogCounts, LogRules
from serving.prediction_log.schema import EXTRAS, FEEDBACK, INPUTS, INSTALL, RECORDS, check_pyarrow, import_arrow
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
            self._clients = Clients(folder, rules.key_file)
        except OSError as error:
            raise InputError(
                f"--prediction_log={folder}: cannot be written ({error.strerror}); expected a folder that this user "
                "may write to. Name such a folder."
            ) from error
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
        self._tidied = time.monotonic()
        self._failure: Exception | None = None
        self._ready, self._ending = threading.Event(), threading.Event()
        self._thread = threading.Thread(target=self._work, name="prediction-log", daemon=True)

    def start(self) -> None:
        """Begin to write, and take over what killed servers left."""
        self._rotating.submit(self._tidy)
        self._examining.start()
        self._thread.start()

    def wait_ready(self) -> None:
        """Return when what is offered is written within the next moment; no answer should go out before.

        InputError if pyarrow cannot be imported.
        """
        self._ready.wait()
        if self._failure is not None:
            raise InputError(
                f"--prediction_log={self._folder}: pyarrow, which writes it, cannot be imported ({self._failure}). "
                f"Run: {INSTALL}"
            ) from self._failure

    def offer(self, answer: Answer) -> None:
        """Log an answer; where there is no room it is dropped, and counted.

        Its inputs are let go of at once if nobody can look at them: their memory is the next request's.
        """
        if self._rules.kept_inputs == NONE and not self._examining.has_room(answer):
            answer = answer._replace(inputs=None)
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
        try:
            import_arrow()
        except Exception as error:  # noqa: BLE001  a library of its own may not load, either
            self._failure = error
            return
        finally:
            self._ready.set()
        while not self._ending.wait(_TICK_S):
            self._tick()
        self._tick()
        self._examining.finish(_TICK_S)
        self._append_extras()
        self._rotate(list(self._segments))

    def _tick(self) -> None:
        answers, labels = self._waiting.take()
        removed = [model for model, segment in self._segments.items() if segment.is_removed]
        self._rotate(removed)
        if answers or labels or removed:
            self._guarded(self._restore_key)
        for model, of_model in _by_model(answers).items():
            self._append(model, RECORDS, of_model, partial(records_batch, digest_of=self._clients.digest))
        for model, of_feedback in _by_model(labels).items():
            self._append(model, FEEDBACK, of_feedback, feedback_batch)
        if self._rules.kept_inputs != NONE:
            for model, of_model in _by_model(answers).items():
                self._append(model, INPUTS, of_model, self._inputs_batch)
        for answer in answers:
            self._guarded(self._examining.add, answer)
        self._append_extras()
        self._guarded(self._rotate_due)
        if time.monotonic() >= self._tidied + self._rules.tidy_s:
            self._tidied = time.monotonic()
            self._rotating.submit(self._tidy)

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
            self._rotating.submit(self._guarded, self._finish, self._segments.pop(model))
        if models:
            self._examining.forget()
            self._rotating.submit(self._tidy)

    def _finish(self, segment: Segment) -> None:
        if segment.is_removed:
            lost = segment.lost
            self.lost(lost)
            _LOG.error(
                "--prediction_log=%s: somebody removed journals that were written to, and %d records or labels with "
                "them; others are begun. Remove what is old with `slipway predictions prune`.",
                self._folder,
                lost,
            )
        segment.rotate()

    def _restore_key(self) -> None:
        if self._clients.restore():
            _LOG.warning(
                "--prediction_log=%s: the key of the clients' hashes was removed; it is there again", self._folder
            )

    def _tidy(self) -> None:
        self._guarded(prune, self._folder, self._rules.most_bytes, self._rules.keep_s, now_us())

    def _append_extras(self) -> None:
        for model, of_model in _by_model(self._examining.take()).items():
            self._append(model, EXTRAS, of_model, _extras_batch)

    def _append(self, model: str, kind: str, items: Sequence[Any], batch_of: Callable[[Sequence[Any]], Any]) -> None:
        """Append what `batch_of` makes of them; of those that it fails for, each is left out by itself."""
        try:
            batch = batch_of(items)
        except Exception as error:  # noqa: BLE001  the log must never take the server with it
            if len(items) > 1:
                middle = len(items) // 2
                self._append(model, kind, items[:middle], batch_of)
                self._append(model, kind, items[middle:], batch_of)
            else:
                self._leave_out(kind, items, f"prediction log: {kind} of {model}: {type(error).__name__}: {error}")
            return
        if not batch.num_rows:
            return
        try:
            self._segment(model).append(kind, batch, len(items))
        except Exception as error:  # noqa: BLE001
            why = error.strerror if isinstance(error, OSError) else f"{type(error).__name__}: {error}"
            self._leave_out(
                kind, items, f"--prediction_log={self._folder}: cannot be written ({why}); rows are dropped"
            )
            return
        if kind == RECORDS:
            self._records += batch.num_rows

    def _leave_out(self, kind: str, items: Sequence[Any], why: str) -> None:
        if kind in (RECORDS, FEEDBACK):  # of the other kinds the request has its record
            self.lost(len(items))
        self._complain(why)

    def _segment(self, model: str) -> Segment:
        segment = self._segments.get(model)
        if segment is None:
            self._segment_number += 1
            stem = f"{self._server}-{self._segment_number:06d}"
            segment = self._segments[model] = Segment(model_folder(self._folder, model), stem)
        return segment

    def _inputs_batch(self, answers: Sequence[Answer]) -> Any:
        return rows_batch(
            INPUTS,
            (
                {"request_id": answer.request_id, "row": row, **kept_input(image, self._rules.kept_inputs)}
                for answer in answers
                for row, image in enumerate(images_of(answer.inputs)[1])
            ),
        )

    def _guarded(self, work: Callable[..., Any], *arguments: object) -> None:
        try:
            work(*arguments)
        except Exception as error:  # noqa: BLE001  the log must never take the server with it
            self._complain(f"prediction log: {type(error).__name__}: {error}")

    def _complain(self, text: str) -> None:
        if text != self._complaint:
            self._complaint = text
            _LOG.error("%s", text)


def _extras_batch(found: Sequence[Examined]) -> Any:
    return rows_batch(EXTRAS, (examined.row for examined in found))


def _by_model(items: Iterable[Any]) -> dict[str, list[Any]]:
    found: dict[str, list[Any]] = defaultdict(list)
    for item in items:
        found[item.model].append(item)
    return found
