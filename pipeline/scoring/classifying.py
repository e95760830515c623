"""A version's variant in this process: loaded when it has answered its golden requests, and asked about encoded images.

It is what the model server runs, with its decoder: the same bytes give the same answer.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from pipeline.scoring.rows import Answered
from serving.model_server.choosing import Chooser
from serving.model_server.errors import ServingError
from serving.model_server.loading import checked_loader
from serving.model_server.runtimes import Runtime
from serving.servable.layout import REFERENCE_VARIANT
from serving.wire.status_pb2 import Code
from slipway.errors import InputError, UnavailableError

BATCH = 32
_SIGNATURE, _INPUT = "serving_bytes", "image_bytes"
_OUTPUTS = ("output", "class_id", "label")


@dataclass(frozen=True)
class Choice:
    """Which variant of the version that is published in a directory: that one, or the fastest of a runtime's."""

    version_directory: Path
    runtime: str
    variant: str = ""


class Variant:
    """The chosen variant with so many threads."""

    def __init__(self, choice: Choice, threads: int = 1) -> None:
        """IntegrityError if it does not answer its golden requests as it did when it was built."""
        chooser = Chooser(choice.runtime, choice.variant, threads=threads)
        loaded = checked_loader(chooser)(choice.version_directory)
        if loaded.owed is not None:
            loaded.owed(0.0, lambda: True)
        self.name = loaded.variant.name
        self._runtime: Runtime = loaded.runtime

    def answers(self, images: Sequence[bytes]) -> list[Answered]:
        """What encoded images come to, in order; UnavailableError if the runtime fails."""
        try:
            return self._ask(images)
        except ServingError as error:
            if not self._is_of_an_image(error):
                raise UnavailableError(
                    f"{self.name}: {error.message}; expected an answer. Look at this machine's memory, then run the "
                    "same command again: finished parts are kept."
                ) from error
            if len(images) == 1:
                return [Answered(error=error.message)]
        # One bad image fails all that it came with, and is not named.
        return [answered for image in images for answered in self.answers([image])]

    def _is_of_an_image(self, error: ServingError) -> bool:
        """Whether an image could not be decoded. Engines have the same code for what is the machine's fault."""
        decoded_by_the_graph = self.name == REFERENCE_VARIANT
        return error.code == Code.INVALID_ARGUMENT and (decoded_by_the_graph or isinstance(error.__cause__, InputError))

    def _ask(self, images: Sequence[bytes]) -> list[Answered]:
        array = np.empty(len(images), object)
        array[:] = images
        found = self._runtime.run(_SIGNATURE, {_INPUT: array}, _OUTPUTS)
        rows = zip(*(found[name] for name in _OUTPUTS), strict=True)
        return [Answered(label.decode(), int(class_id), output) for output, class_id, label in rows]
