"""Golden requests: pictures of the evaluation split with the trained network's answers.

A servable carries them, so that whatever comes to serve it can be asked the same and compared, before it takes traffic.
"""

import contextlib
import zipfile
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import numpy as np
import numpy.typing as npt

from slipway.errors import InputError, IntegrityError

GOLDEN_FILE = "golden.npz"
LEAST_REQUESTS = 32
_TIE = 2e-4  # classes whose expected probabilities are this near may change places on another processor


@dataclass(frozen=True, eq=False)  # arrays do not compare to a bool
class GoldenRequests:
    """The same N pictures twice: as pixels of the network's size, and as the encoded files that they came from.

    Raises InputError for shapes, dtypes or numbers that could not tell a right answer from a wrong one.
    """

    pixels: npt.NDArray[np.uint8]  # [N, H, W, 3], RGB, N at least LEAST_REQUESTS
    pixels_output: npt.NDArray[np.float32]  # [N, classes], probabilities
    encoded: tuple[bytes, ...]  # N encoded files
    encoded_output: npt.NDArray[np.float32]  # [N, classes], probabilities

    def __post_init__(self) -> None:
        count = len(self.encoded)
        if count < LEAST_REQUESTS:
            raise InputError(
                f"golden requests: {count}; expected at least {LEAST_REQUESTS}. Give a larger evaluation split."
            )
        if self.pixels.dtype != np.uint8 or self.pixels.ndim != 4 or self.pixels.shape[::3] != (count, 3):
            raise InputError(
                f"golden requests: pixels are {_described(self.pixels)}; expected uint8 [{count}, H, W, 3]. "
                "Give RGB pictures of the network's size."
            )
        for name, output in (("pixels_output", self.pixels_output), ("encoded_output", self.encoded_output)):
            if output.dtype != np.float32 or output.ndim != 2 or len(output) != count or output.shape[1] < 2:
                raise InputError(
                    f"golden requests: {name} is {_described(output)}; expected float32 [{count}, classes]. "
                    "Give the network's probabilities."
                )
            if not np.isfinite(output).all():
                raise InputError(
                    f"golden requests: {name} holds NaN or infinity; expected probabilities. Train the network anew."
                )
        if self.pixels_output.shape != self.encoded_output.shape:
            raise InputError(
                f"golden requests: answers of {self.pixels_output.shape[1]} and {self.encoded_output.shape[1]} "
                "classes; expected both from one network. Ask one network for both."
            )


def save_golden(golden: GoldenRequests, directory: Path) -> None:
    """Write `golden.npz` below `directory`, which is created; the same requests always give the same bytes."""
    directory.mkdir(parents=True, exist_ok=True)
    np.savez(
        directory / GOLDEN_FILE,
        allow_pickle=False,
        pixels=golden.pixels,
        pixels_output=golden.pixels_output,
        encoded=np.frombuffer(b"".join(golden.encoded), np.uint8),
        encoded_sizes=np.array([len(data) for data in golden.encoded], np.int64),
        encoded_output=golden.encoded_output,
    )


def load_golden(directory: Path) -> GoldenRequests:
    """Read what `save_golden` wrote; IntegrityError if the file is missing or not such a file."""
    with _reading(directory / GOLDEN_FILE) as arrays:
        return GoldenRequests(
            pixels=arrays["pixels"],
            pixels_output=arrays["pixels_output"],
            encoded=_split(arrays["encoded"], arrays["encoded_sizes"]),
            encoded_output=arrays["encoded_output"],
        )


def save_answers(golden: GoldenRequests, directory: Path) -> None:
    """Write the answers of `golden` alone, a variant's own, as `golden.npz` in the variant's `directory`."""
    np.savez(
        directory / GOLDEN_FILE,
        allow_pickle=False,
        pixels_output=golden.pixels_output,
        encoded_output=golden.encoded_output,
    )


def with_answers(golden: GoldenRequests, directory: Path) -> GoldenRequests:
    """The pictures of `golden` with the answers that `save_answers` wrote to `directory`; errors as `load_golden`'s."""
    with _reading(directory / GOLDEN_FILE) as arrays:
        return replace(golden, pixels_output=arrays["pixels_output"], encoded_output=arrays["encoded_output"])


@contextmanager
def _reading(path: Path) -> Iterator[Mapping[str, npt.NDArray[Any]]]:
    try:
        with np.load(path, allow_pickle=False) as arrays:
            yield arrays
    except (OSError, ValueError, KeyError, TypeError, EOFError, zipfile.BadZipFile, InputError) as error:
        raise IntegrityError(
            f"{path}: cannot be read as golden requests ({' '.join(str(error).split())}); "
            "expected the file that the servable was sealed with. Fetch the servable again."
        ) from error


class Predict(Protocol):
    """Whatever answers: a runtime in this process or a server.

    `inputs` are float32 [N, H, W, 3] as `input` (serving_default), or an object array of N `bytes` as `image_bytes`
    (serving_bytes); the answer holds at least `output` float32 [N, classes] and `class_id` int64 [N].
    """

    def __call__(self, signature: str, inputs: Mapping[str, npt.NDArray[Any]]) -> Mapping[str, npt.NDArray[Any]]: ...


@dataclass(frozen=True)
class GoldenReport:
    """How answers compare with the trained network's."""

    requests: int
    largest_difference: float  # largest |answer - expected| of any probability; NaN if an answer held one
    top1_disagreements: int
    tolerance: float

    @property
    def passed(self) -> bool:
        """Whether something was asked, every number is within tolerance, and every first class is the same."""
        return self.requests > 0 and self.top1_disagreements == 0 and self.largest_difference <= self.tolerance

    def summary(self) -> str:
        """One line for people."""
        verdict = "passed" if self.passed else "refused"
        return (
            f"{verdict}: {self.requests} golden requests, largest difference {self.largest_difference:.2g} "
            f"(tolerance {self.tolerance:.2g}), {self.top1_disagreements} with another first class"
        )


class Asked(NamedTuple):
    """Which golden requests: of the pictures as pixels, and of the same ones as files."""

    pixels: slice | list[int] = slice(None)
    encoded: slice | list[int] = slice(None)


EVERYTHING = Asked()


def check_golden(
    golden: GoldenRequests,
    predict: Predict,
    tolerance: float,
    batch_size: int = 8,
    in_flight: int = 1,
    asked: Asked = EVERYTHING,
) -> GoldenReport:
    """Ask golden requests through both signatures, `batch_size` at a time, and compare the answers.

    in_flight: batches that are asked at once, by threads of their own; 1 asks in this thread.
    IntegrityError if an answer lacks an output or has another shape than expected.
    """
    largest_difference, disagreements = 0.0, 0
    with contextlib.ExitStack() as stack:
        ask: Callable[..., Iterator[tuple[npt.NDArray[np.float64], npt.NDArray[Any]]]] = map
        if in_flight > 1:
            ask = stack.enter_context(ThreadPoolExecutor(in_flight, "golden")).map
        batches = list(_batches(golden, batch_size, asked))
        answers = ask(lambda batch: _answer(predict, *batch), batches)
        for (_, _, expected), (output, class_id) in zip(batches, answers, strict=True):
            # np.maximum, unlike max, keeps a NaN
            largest_difference = float(np.maximum(largest_difference, np.abs(output - expected).max()))
            disagreements += int((~_agrees(output, class_id, expected)).sum())
    return GoldenReport(sum(len(expected) for *_, expected in batches), largest_difference, disagreements, tolerance)


def are_right(
    output: npt.NDArray[Any], class_id: npt.NDArray[Any], expected: npt.NDArray[np.float32], tolerance: float
) -> npt.NDArray[np.bool_]:
    """Which of N answers a report would pass by: `output` and `expected` are [N, classes], `class_id` is [N]."""
    answered = np.asarray(output, np.float64)
    near = np.abs(answered - expected).max(axis=1) <= tolerance  # not for NaN
    return np.asarray(near & _agrees(answered, class_id, expected))


def _batches(
    golden: GoldenRequests, batch_size: int, asked: Asked
) -> Iterator[tuple[str, Mapping[str, npt.NDArray[Any]], npt.NDArray[np.float32]]]:
    """Signature, inputs and expected probabilities of each request."""
    encoded = np.empty(len(golden.encoded), object)
    encoded[:] = golden.encoded
    pixels = golden.pixels[asked.pixels].astype(np.float32)
    for signature, name, requests, expected in (
        ("serving_default", "input", pixels, golden.pixels_output[asked.pixels]),
        ("serving_bytes", "image_bytes", encoded[asked.encoded], golden.encoded_output[asked.encoded]),
    ):
        for start in range(0, len(requests), batch_size):
            batch = slice(start, start + batch_size)
            yield signature, {name: requests[batch]}, expected[batch]


def _agrees(
    output: npt.NDArray[np.float64], class_id: npt.NDArray[Any], expected: npt.NDArray[Any]
) -> npt.NDArray[np.bool_]:
    """Whether each answer's class is its own most probable one, and the expected one or tied with it."""
    rows = np.arange(len(expected))
    answered = output.argmax(axis=1)
    shortfall = expected.max(axis=1) - expected[rows, answered]
    return np.asarray((class_id == answered) & (shortfall <= _TIE))


def _answer(
    predict: Predict, signature: str, inputs: Mapping[str, npt.NDArray[Any]], expected: npt.NDArray[np.float32]
) -> tuple[npt.NDArray[np.float64], npt.NDArray[Any]]:
    answer = predict(signature, inputs)
    for name, shape in (("output", expected.shape), ("class_id", expected.shape[:1])):
        if name not in answer or np.shape(answer[name]) != shape:
            found = _described(np.asarray(answer[name])) if name in answer else "missing"
            raise IntegrityError(
                f"golden requests: output {name!r} of signature {signature!r} is {found}; expected shape "
                f"{list(shape)}. Build and register the servable again."
            )
    return np.asarray(answer["output"], np.float64), np.asarray(answer["class_id"])


def _split(buffer: npt.NDArray[Any], sizes: npt.NDArray[Any]) -> tuple[bytes, ...]:
    if buffer.dtype != np.uint8 or buffer.ndim != 1 or sizes.dtype != np.int64 or sizes.ndim != 1:
        raise ValueError(f"encoded is {_described(buffer)}, encoded_sizes {_described(sizes)}")
    if (sizes < 0).any() or sizes.sum() != len(buffer):
        raise ValueError(f"encoded_sizes do not add up to the {len(buffer)} bytes of encoded")
    ends = np.cumsum(sizes)
    return tuple(buffer[end - size : end].tobytes() for size, end in zip(sizes, ends, strict=True))


def _described(array: npt.NDArray[Any]) -> str:
    return f"{array.dtype} {list(array.shape)}"
