"""What a served model answers about an image, whichever protocol carried it, and the one Protocol of all clients."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from slipway.errors import InputError

SIGNATURE = "serving_bytes"
INPUT = "image_bytes"
OUTPUTS = ("output", "class_id", "label")


@dataclass(frozen=True)
class Answer:
    """A served model's answer about one image.

    label, class_id: the most probable class, by name and by its place in `output`.
    output: the probability of every class, each 0 to 1.
    version: the model version that answered, as the server says it; "" where its protocol does not say it.
    """

    label: str
    class_id: int
    output: tuple[float, ...]
    version: str

    @property
    def probability(self) -> float:
        """How probable the answered class is, 0 to 1."""
        return self.output[self.class_id]


@dataclass(frozen=True)
class Prediction:
    """An answer about one file, as `predict` prints it. `file` is the path as the caller gave it."""

    file: str
    label: str
    class_id: int
    probability: float
    output: tuple[float, ...]
    model: str
    version: str


class RejectedError(InputError):
    """The server refused these images, as it would again; one of them is probably no image that it can decode."""


class Client(Protocol):
    """A connection to one served model."""

    @property
    def name(self) -> str:
        """The model's name."""
        ...

    def predict(self, images: Sequence[bytes]) -> list[Answer]:
        """Answer for each encoded image (the bytes of a JPEG, PNG, BMP or GIF file), in order, in one request.

        Raises RejectedError where the server refuses the images, NotFoundError where it does not know the model, the
        version or the label, UnavailableError where it does not answer, InputError where the model takes no images.
        """
        ...

    def close(self) -> None:
        """Close the connection."""
        ...


def answer_from_row(row: Any, version: str, address: str) -> Answer:
    """Read one row of a JSON answer, `{"output": [...], "class_id": 3, "label": "cat"}`; InputError if it is none."""
    fields: Mapping[str, Any] = row if isinstance(row, Mapping) else {}
    missing = [name for name in OUTPUTS if name not in fields]
    if missing:
        raise missing_outputs(missing, address)
    output = tuple(float(probability) for probability in fields["output"])
    return checked(Answer(str(fields["label"]), int(fields["class_id"]), output, version), address)


def checked(answer: Answer, address: str) -> Answer:
    """Return `answer` if its class is one of its outputs; else raise InputError."""
    if not 0 <= answer.class_id < len(answer.output):
        raise InputError(
            f"{address}: the model answered class_id {answer.class_id} with {len(answer.output)} probabilities; "
            "expected a class among them. Serve a model whose outputs belong together."
        )
    return answer


def missing_outputs(missing: Sequence[str], address: str) -> InputError:
    """Build the error for a model whose signature lacks some of the outputs that a prediction is made of."""
    return InputError(
        f"{address}: the model's signature {SIGNATURE!r} answers without {', '.join(missing)}; expected the outputs "
        f"{', '.join(OUTPUTS)}. Serve a version that Slipway built."
    )


def missing_signature(name: str, address: str, reason: str) -> InputError:
    """Build the error for a model that takes no encoded images."""
    return InputError(
        f"{address}: model {name!r} has no signature {SIGNATURE!r} with the input {INPUT!r} for encoded images "
        f"({reason}). Serve a version that Slipway built, or send pixels to its own signature."
    )
