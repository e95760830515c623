"""A worker's share of every batch: all shares of a batch, one after the other, are the batch of one worker alone."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeVar

from slipway.errors import InputError

Item = TypeVar("Item")


@dataclass(frozen=True)
class Share:
    """Of a batch of `of` images those from place `first` on, `images` in number, which may be none."""

    first: int
    images: int
    of: int


def check_batch_size(batch_size: int, workers: int) -> None:
    """InputError unless each worker gets an image of a whole batch."""
    if batch_size < workers:
        raise InputError(
            f"train.batch_size is {batch_size} with {workers} workers; expected an image for each worker or more. "
            "Edit it or pass --batch-size."
        )


def share(batch: int, index: int, workers: int) -> Share:
    """What worker `index` takes of a batch of that many images: no worker more than one image more than another."""
    each, left = divmod(batch, workers)
    return Share(index * each + min(index, left), each + (index < left), batch)


def shares(images: int, batch_size: int, index: int, workers: int) -> list[Share]:
    """What worker `index` takes of each batch of so many images; the last batch may be smaller."""
    sizes = [min(batch_size, images - begin) for begin in range(0, images, batch_size)]
    return [share(size, index, workers) for size in sizes]


def taken(items: Sequence[Item], batch_size: int, index: int, workers: int) -> list[Item]:
    """The images of a worker, in order, such that batches of its share of a whole batch are its shares.

    Of a last batch that has none for it, it takes the first, to have something to compute on: it weighs nothing there.
    """
    own: list[Item] = []
    for begin in range(0, len(items), batch_size):
        part = share(min(batch_size, len(items) - begin), index, workers)
        first = begin + (part.first if part.images else 0)
        own += items[first : first + max(1, part.images)]
    return own
