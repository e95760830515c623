"""Images that are kept apart from every training: their digests, and the whole of them as something to be judged on."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from pipeline.data.sources import list_source
from slipway.errors import InputError
from slipway.files import sha256_file

if TYPE_CHECKING:
    from pipeline.data.dataset import Dataset


def excluded_digests(
    source: str, workdir: Path, named: tuple[str, str] = ("data.excluded", "--excluded")
) -> frozenset[str]:
    """Hex SHA-256 of every image of `source`; none where no source is named. InputError where one cannot be read.

    So it is where a source has no images: that may be a mount that is away, and all of them would be trained on.
    named: the key and the option that the source was named by, for the error.
    """
    if not source:
        return frozenset()
    try:
        found = frozenset(sha256_file(candidate.file) for candidate in list_source(source, workdir).candidates)
    except OSError as error:
        raise InputError(
            f"{named[0]}: {error.filename}: {error.strerror}; expected images that can be read, so that none "
            f"of them is trained on. Mend it, or pass another {named[1]}."
        ) from error
    if not found:
        raise InputError(
            f"{named[0]}: {source!r} has no images; expected some that are to be left out. Restore them, or pass "
            f"another {named[1]}."
        )
    return found


def whole_set(source: str, labels: Sequence[str], workdir: Path, max_pixels: int) -> "Dataset":
    """Every image of `source` in the split "test", its class counted in `labels`; the other splits are empty.

    InputError where an image cannot be used, or is of a class that `labels` does not have.
    """
    from pipeline.data.dataset import Dataset, Record, bad_images, digest_of
    from pipeline.data.inspection import inspect
    from pipeline.data.problems import describe

    listing = list_source(source, workdir)
    inspections = inspect(listing.candidates, max_pixels)
    problems = bad_images(listing, inspections)
    if problems:
        raise InputError(describe(problems, source, workdir))
    class_ids = {label: class_id for class_id, label in enumerate(labels)}
    unknown = sorted({candidate.label for candidate in listing.candidates} - class_ids.keys())
    if unknown or not listing.candidates:
        fault = f"has images of the class {unknown[0]!r}" if unknown else "has no images"
        raise InputError(f"{source}: {fault}; expected images of {', '.join(labels)}. Name others.")
    records = [
        Record(candidate.path, candidate.file, class_ids[candidate.label], inspection.sha256)
        for candidate, inspection in zip(listing.candidates, inspections, strict=True)
    ]
    return Dataset(
        source=source,
        place=listing.place,
        labels=tuple(labels),
        train=(),
        validation=(),
        test=tuple(sorted(records, key=lambda record: record.path)),
        digest=digest_of(records, labels),
        rotated=sum(inspection.rotated for inspection in inspections),
        skipped=(),
        max_pixels=max_pixels,
    )
