"""What is scored: images by where they are, in parts."""

from collections.abc import Sequence
from dataclasses import dataclass

IN_S3 = "s3://"


@dataclass(frozen=True)
class Item:
    """One image of an input.

    image: as the input names it. place: a file's path, or s3://BUCKET/KEY. tag: changes when the content does; "" if
    it is not known. content: the encoded image, where the input holds it; None in a place's stead is an image missing.
    """

    image: str
    place: str = ""
    tag: str = ""
    size_bytes: int = 0
    content: bytes | None = None


@dataclass(frozen=True)
class Part:
    """Images of an input that become one file of the output.

    first_row: the first image's number in the input, from 0.
    """

    number: int
    first_row: int
    items: Sequence[Item]


@dataclass(frozen=True)
class PartDone:
    """A part that is in the output. began_s, ended_s: by the machine's monotonic clock, the model being loaded."""

    number: int
    images: int
    failed: int  # of them, the ones that could not be decoded
    began_s: float
    ended_s: float
