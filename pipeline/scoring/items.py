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
class Rows:
    """So many rows of a parquet file, of one of its groups of rows, each an image.

    place, tag, size_bytes: the file, as `Item` has an image. first: in the group, from 0. names: what images are called
    that have no name of their own, with the row's number in the file behind it; `names_from` is the first one's.
    """

    place: str
    tag: str
    size_bytes: int
    group: int
    first: int
    count: int
    names: str
    names_from: int


@dataclass(frozen=True)
class Part:
    """Images of an input that become one file of the output: `items`, or else `rows`.

    first_row: the first image's number in the input, from 0.
    """

    number: int
    first_row: int
    items: Sequence[Item] = ()
    rows: Sequence[Rows] = ()

    @property
    def images(self) -> int:
        """How many they are."""
        return len(self.items) or sum(each.count for each in self.rows)


@dataclass(frozen=True)
class PartDone:
    """A part that is in the output. began_s, ended_s: by the machine's monotonic clock, the model being loaded."""

    number: int
    images: int
    failed: int  # of them, the ones that have an error instead of an answer
    began_s: float
    ended_s: float
