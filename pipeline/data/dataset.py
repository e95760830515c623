"""A dataset: records in three splits, with a digest that says whether two evaluations saw the same images."""

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from pipeline.data.apart import excluded_digests
from pipeline.data.checks import Content, check_classes, check_identical, check_labels
from pipeline.data.config import DataConfig
from pipeline.data.inspection import Inspection, inspect
from pipeline.data.listing import Listing, shown
from pipeline.data.problems import Problem, describe
from pipeline.data.sources import list_source
from pipeline.data.splits import SPLITS, split_by_content
from slipway.errors import InputError
from slipway.files import sha256_bytes


@dataclass(frozen=True)
class Record:
    """One usable image: `path` as its source names it, `file` where it is, `class_id` its place in the labels."""

    path: str
    file: Path
    class_id: int
    sha256: str


@dataclass(frozen=True)
class Dataset:
    """Validated images, each in one split, sorted by path.

    source, place: as the user gave it, and the folder, the CSV file or the address that it stands for, wherever from.
    labels: class names, sorted; a record's `class_id` counts in them.
    digest: hex SHA-256 over every image's path, content and label, whatever the split.
    rotated: images that carry an EXIF rotation, which the decoder ignores.
    skipped: the bad images that were left out.
    max_pixels: the limit under which the images were validated.
    excluded: images that were left out because they are among those that are kept for a later comparison.
    source_digest: the digest as it would be with them; configured_digest: with those of the regression set alone.
    """

    source: str
    place: str
    labels: tuple[str, ...]
    train: tuple[Record, ...]
    validation: tuple[Record, ...]
    test: tuple[Record, ...]
    digest: str
    rotated: int
    skipped: tuple[Problem, ...]
    max_pixels: int
    excluded: int = 0
    source_digest: str = ""
    configured_digest: str = ""

    def split_digest(self, split: str) -> str:
        """Hex SHA-256 over the images of `split` ("train", "validation" or "test"): path, content and label."""
        return digest_of(getattr(self, split), self.labels)

    def summary(self) -> str:
        """One line for a person: images, classes, splits, and what is to be known about them."""
        sizes = {split: len(getattr(self, split)) for split in SPLITS}
        parts = [
            f"{sum(sizes.values()):,} images of {len(self.labels)} classes: "
            + ", ".join(f"{size:,} {split}" for split, size in sizes.items())
        ]
        if self.rotated:
            parts.append(f"EXIF rotations ignored: {self.rotated:,}")
        if self.skipped:
            parts.append(f"bad images skipped: {len(self.skipped):,}")
        if self.excluded:
            parts.append(f"left out because they are excluded: {self.excluded:,}")
        return "; ".join(parts)


def load_dataset(config: DataConfig, workdir: Path, regression_set: str = "") -> Dataset:
    """List, open, check and split the images of `config.source`; embedded data is written below `workdir` first.

    Images of `config.excluded` and of `regression_set`, sources both, are in no split.
    Raises InputError that names every problem of the source and its place.
    """
    listing = list_source(config.source, workdir)
    inspections = inspect(listing.candidates, config.max_pixels)
    bad = bad_images(listing, inspections)
    usable = [
        (candidate, inspection.sha256)
        for candidate, inspection in zip(listing.candidates, inspections, strict=True)
        if not (inspection.fault and config.skip_bad_images)
    ]
    configured = _without(usable, excluded_digests(config.excluded, workdir))
    in_regression_set = excluded_digests(regression_set, workdir, ("retrain.regression_set", "--regression-set"))
    contents = _without(configured, in_regression_set)
    if usable and not contents:
        by = " and ".join(filter(None, (config.excluded, regression_set)))
        raise InputError(
            f"{config.source}: every one of its {len(usable):,} images is excluded by {by}; expected "
            "others to train on. Name other images by --data, --excluded or --regression-set."
        )
    problems = [
        *(problem for problem in listing.problems if not problem.skippable),
        *check_labels(listing.labels),
        *check_classes(listing.labels, contents, config.source),
        *check_identical(contents),
        *([] if config.skip_bad_images else bad),
    ]
    if problems:
        raise InputError(describe(problems, config.source, workdir))
    labels = tuple(sorted(listing.labels))
    splits = _split(contents, labels, config)
    return Dataset(
        source=config.source,
        place=listing.place,
        labels=labels,
        train=splits["train"],
        validation=splits["validation"],
        test=splits["test"],
        digest=digest_of((record for records in splits.values() for record in records), labels),
        rotated=sum(inspection.rotated for inspection in inspections),
        skipped=tuple(bad),
        max_pixels=config.max_pixels,
        excluded=len(usable) - len(contents),
        source_digest=_digest_of_contents(usable, labels),
        configured_digest=_digest_of_contents(configured, labels),
    )


def bad_images(listing: Listing, inspections: Sequence[Inspection]) -> list[Problem]:
    """What cannot be used of a source, each with its place."""
    listed = [problem for problem in listing.problems if problem.skippable]
    return listed + [
        Problem(shown(candidate.path), inspection.fault, skippable=True)
        for candidate, inspection in zip(listing.candidates, inspections, strict=True)
        if inspection.fault
    ]


def _without(contents: Sequence[Content], digests: frozenset[str]) -> list[Content]:
    return [content for content in contents if content[1] not in digests]


def _split(contents: Sequence[Content], labels: Sequence[str], config: DataConfig) -> dict[str, tuple[Record, ...]]:
    by_content = split_by_content(
        ((digest, candidate.label) for candidate, digest in contents if not candidate.split),
        config.validation_fraction,
        config.test_fraction,
        config.split_seed,
    )
    class_ids = {label: class_id for class_id, label in enumerate(labels)}
    splits: dict[str, list[Record]] = {split: [] for split in SPLITS}
    for candidate, digest in sorted(contents, key=lambda content: content[0].path):
        record = Record(candidate.path, candidate.file, class_ids[candidate.label], digest)
        splits[candidate.split or by_content[digest]].append(record)
    return {split: tuple(records) for split, records in splits.items()}


def _digest_of_contents(contents: Sequence[Content], labels: Sequence[str]) -> str:
    class_ids = {label: class_id for class_id, label in enumerate(labels)}
    return digest_of((Record(each.path, each.file, class_ids[each.label], sha) for each, sha in contents), labels)


def digest_of(records: Iterable[Record], labels: Sequence[str]) -> str:
    """Hex SHA-256 over the path, content and label of every record, in whatever order."""
    lines = sorted(json.dumps([record.path, record.sha256, labels[record.class_id]]) for record in records)
    return sha256_bytes("\n".join(lines).encode())
