"""Explain answers: heat maps over pictures, by a server or by a version straight from the registry."""

import contextlib
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from pipeline.config import Config
from pipeline.overlay import overlay
from pipeline.predict import Ask, check_ask, registered_saved_model
from pipeline.tracking import step
from slipway.errors import InputError
from slipway.tensorflow_start import start_tensorflow

if TYPE_CHECKING:
    from serving.client.explaining import Explanation

    Explain = Callable[[bytes], Explanation]

_FOLDER = "explanations"  # of the run's artifacts


@dataclass(frozen=True)
class Explained:
    """A file, what was answered, and the PNG that shows where that was seen."""

    file: str
    label: str
    class_id: int
    probability: float
    model: str
    version: str
    overlay: str


@dataclass(frozen=True)
class Explanations:
    """All files, in order, and the MLflow run that has their overlays."""

    run_id: str
    explained: tuple[Explained, ...]

    def as_dict(self) -> dict[str, Any]:
        """For one JSON document."""
        return {"run_id": self.run_id, "explanations": [asdict(one) for one in self.explained]}

    def table(self) -> str:
        """Aligned columns, and the run."""
        rows = [("file", "label", "probability", "version", "overlay")]
        rows += [
            (one.file, one.label, f"{one.probability:.4f}", one.version or "-", one.overlay) for one in self.explained
        ]
        widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
        lines = ["  ".join(map(str.ljust, row, widths)).rstrip() for row in rows]
        return "\n".join([*lines, f"logged to run {self.run_id}"])


def explain(config: Config, paths: Sequence[Path], ask: Ask, output: Path) -> Explanations:
    """Write an overlay of each image at `paths` (files and folders) below `output`, and log it to a run of its own."""
    from serving.client import collect_images

    check_ask(ask)
    files = collect_images(paths)
    targets = overlay_paths(files, output)
    with _explainer(config, ask) as ask_one, step("explain", config.experiment) as run:
        explained = []
        for file, target in zip(files, targets, strict=True):
            explained.append(_explain(file, target, config.name, ask_one))
            run.file(target, _FOLDER)
        return Explanations(run.run_id, tuple(explained))


def _explain(file: Path, target: Path, model: str, ask_one: "Explain") -> Explained:
    from serving.client import RejectedError

    try:
        data = file.read_bytes()
        explanation = ask_one(data)
    except OSError as error:
        raise InputError(f"{file}: {error.strerror}; expected an image that can be read. Check the path.") from error
    except RejectedError as error:
        raise _refused(file, error) from error
    overlay(_picture(file, data), explanation.heat_map).save(target)
    answer = explanation.answer
    return Explained(str(file), answer.label, answer.class_id, answer.probability, model, answer.version, str(target))


def _picture(file: Path, data: bytes) -> npt.NDArray[np.uint8]:
    """The pixels of a file that was explained: the version has held its size against its own limit."""
    from serving.servable.decoding import decode

    try:
        return decode(data, sys.maxsize)
    except InputError as error:
        raise _refused(file, error) from error


def _refused(file: Path, error: Exception) -> InputError:
    return InputError(f"{file}: {error}; expected a whole JPEG, PNG, BMP or GIF. Leave it out or mend it.")


def overlay_paths(files: Sequence[Path], output: Path) -> list[Path]:
    """A PNG below `output` for each file; where a name is taken, the next number that makes it another is added."""
    try:
        output.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"--output {output}: {error.strerror}; expected a folder. Pass another one.") from error
    targets: dict[Path, None] = {}
    last: dict[str, int] = {}  # a thousand files of one name are not counted through anew for each
    for file in files:
        number = last.get(file.stem, 0) + 1
        while (target := output / f"{file.stem}{'' if number == 1 else f'-{number}'}-explained.png") in targets:
            number += 1
        last[file.stem] = number
        targets[target] = None
    return list(targets)


@contextlib.contextmanager
def _explainer(config: Config, ask: Ask) -> "Iterator[Explain]":
    if ask.address is not None:
        from serving.client.explaining import connect_explainer

        client = connect_explainer(ask.address, config.name, label=ask.label, version=ask.version)
        try:
            yield client.explain
        finally:
            client.close()
        return
    with registered_saved_model(config, ask) as (version, saved_model):
        yield _in_process(saved_model, f"{version.name} version {version.version}", str(version.version))


def _in_process(saved_model: Path, place: str, version: str) -> "Explain":
    """The SavedModel in this process, as the embedded server would run it."""
    start_tensorflow()
    from serving.client import Answer, RejectedError
    from serving.client.answers import INPUT, OUTPUTS
    from serving.client.explaining import SIGNATURE, Explanation
    from serving.client.http import one_line
    from serving.model_server.errors import ServingError
    from serving.model_server.runtimes.tensorflow import TensorFlowRuntime

    runtime = TensorFlowRuntime(saved_model)
    if SIGNATURE not in runtime.signatures:
        raise InputError(
            f"{place}: has no signature {SIGNATURE!r}; expected a servable that explains, with a network that has a "
            "feature map. Register a new version: slipway register."
        )

    def ask_one(image: bytes) -> Explanation:
        try:
            found = runtime.run(SIGNATURE, {INPUT: np.array([image], dtype=object)}, (*OUTPUTS, "heat_map"))
        except ServingError as error:
            raise RejectedError(one_line(error.message)) from error
        output, class_id, label, heat_map = (found[name][0] for name in (*OUTPUTS, "heat_map"))
        return Explanation(Answer(label.decode(), int(class_id), tuple(map(float, output)), version), heat_map)

    return ask_one
