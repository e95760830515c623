"""Measure variants: their answers to the evaluation split, and their speed in rounds, each in its own process."""

import tempfile
from collections.abc import Callable, Iterable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from pipeline.optimize.config import OptimizeConfig
from pipeline.optimize.figures import Answers, Speed
from pipeline.optimize.session import Session, SessionError, Version
from serving.servable.layout import REFERENCE_VARIANT

Forward = Callable[[Any], npt.NDArray[np.float32]]
_TIMED = 32  # different images that speed is measured with
_TIMED_FILE = "timed.npy"
_WARM_S = 0.2


@dataclass(frozen=True)
class Measured:
    """What was seen of those variants that ran, and why the others did not."""

    answers: Mapping[str, Answers]
    speeds: Mapping[str, Speed]
    network: npt.NDArray[np.float32]  # [images, classes], the trained network's probabilities
    failures: Mapping[str, str]


class Bench:
    """Loaded variants, side by side, of which one works at a time. A variant that fails leaves, with its reason."""

    def __init__(self, stack: ExitStack) -> None:
        self._stack = stack
        self.sessions: dict[str, Session] = {}
        self.failures: dict[str, str] = {}

    def load(self, version: Version, names: Iterable[str]) -> None:
        """Start a session for each of `names`."""
        for name in names:
            try:
                self.sessions[name] = self._stack.enter_context(Session(version, name))
            except SessionError as error:
                self.failures[name] = str(error)

    def each(self, work: Callable[[str, Session], None], turn: int = 0) -> None:
        """Give every session `work`, beginning with another one each `turn`."""
        names = list(self.sessions)
        start = turn % len(names) if names else 0
        for name in names[start:] + names[:start]:
            try:
                work(name, self.sessions[name])
            except SessionError as error:
                self.failures[name] = str(error)
                del self.sessions[name]


def measure(
    bench: Bench, sizes_bytes: Mapping[str, int], batches: Iterable[Any], forward: Forward, config: OptimizeConfig
) -> Measured:
    """Ask each session of `bench` the images of `batches`, float32 [N, H, W, 3], which `forward` answers too."""
    speeds = {name: Speed(session.load_s, sizes_bytes[name]) for name, session in bench.sessions.items()}
    with tempfile.TemporaryDirectory(prefix="slipway-measure-") as scratch:
        answers, network = _ask(bench, batches, forward, Path(scratch))
        _time(bench, speeds, Path(scratch) / _TIMED_FILE, config)
    return Measured(answers, speeds, network, dict(bench.failures))


def worse_on(bench: Bench, batches: Iterable[Any], forward: Forward, truth: npt.NDArray[np.int32]) -> dict[str, str]:
    """Why a variant may not be served: of images of a regression set it loses more than it wins. By its name."""
    with tempfile.TemporaryDirectory(prefix="slipway-measure-") as scratch:
        answers, network = _ask(bench, batches, forward, Path(scratch))
    right = network.argmax(axis=1) == truth
    found = {}
    for name in bench.sessions.keys() - {REFERENCE_VARIANT}:
        own = answers[name].classes() == truth
        lost, won = int((right & ~own).sum()), int((own & ~right).sum())
        if lost > won:
            found[name] = (
                f"of {len(truth)} images of the regression set it loses {lost} that the trained network has right, and "
                f"wins {won}; expected no more lost than won"
            )
    return found


def _ask(
    bench: Bench, batches: Iterable[Any], forward: Forward, scratch: Path
) -> tuple[dict[str, Answers], npt.NDArray[np.float32]]:
    """What each session and `forward` answer; some of the first images stay in `scratch`."""
    answers = {name: Answers() for name in bench.sessions}
    network = []
    file = scratch / "pixels.npy"
    for turn, batch in enumerate(batches):
        expected = forward(batch)
        network.append(expected)
        np.save(file, np.asarray(batch))
        if not turn:
            np.save(scratch / _TIMED_FILE, np.asarray(batch)[:_TIMED])
        bench.each(partial(_compare, answers, file, expected), turn)
    return answers, np.concatenate(network)


def _compare(
    answers: Mapping[str, Answers], file: Path, expected: npt.NDArray[np.float32], name: str, session: Session
) -> None:
    answers[name].add(session.answer(file), expected)


def _time(bench: Bench, speeds: Mapping[str, Speed], pixels: Path, config: OptimizeConfig) -> None:
    def once(name: str, session: Session) -> None:
        session.alone(pixels, _WARM_S)
        latencies = session.alone(pixels, config.round_seconds)
        throughput = session.together(pixels, config.round_seconds)
        speeds[name].latencies_ms += latencies
        speeds[name].throughputs.append(throughput)

    for turn in range(config.rounds):
        bench.each(once, turn)

    def weigh(name: str, session: Session) -> None:
        speeds[name].memory_bytes = session.memory_bytes()

    bench.each(weigh)
