"""The images that a servable's reference statistics are made of."""

from typing import TYPE_CHECKING

from pipeline.data.batches import shuffled

if TYPE_CHECKING:
    from pipeline.data import Dataset
    from serving.servable.held_out import HeldOut


def held_out(dataset: "Dataset") -> "HeldOut":
    """What no training has learned from, the test images first: validation may have chosen among epochs.

    Within a split in an order of no meaning, so that the first of many are of every class.
    """
    from serving.servable.held_out import HeldOut

    records = [record for split in (dataset.test, dataset.validation) for record in shuffled(split, seed=0)]
    classes = [record.class_id for record in records]
    return HeldOut([record.file for record in records], classes, dataset.split_digest("test"))
