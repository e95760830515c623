"""The split into train, validation and test: stratified by class, seeded, and stable."""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from hashlib import sha256

SPLITS = ("train", "validation", "test")


def split_by_content(
    images: Iterable[tuple[str, str]], validation_fraction: float, test_fraction: float, seed: int
) -> dict[str, str]:
    """Content digest -> split, for images given as (content digest, label).

    Of each class's distinct images the given fractions, rounded, and at least one, go to validation and to test; the
    rest, at least one if there are three, to train. It depends on contents, labels and seed alone, never on names or
    order, and identical images cannot be parted.
    """
    classes: dict[str, set[str]] = defaultdict(set)
    for digest, label in images:
        classes[label].add(digest)
    assigned: dict[str, str] = {}
    for digests in classes.values():
        ordered = sorted(digests, key=lambda digest: sha256(f"{seed}:{digest}".encode()).digest())
        test, validation = _sizes(len(ordered), validation_fraction, test_fraction)
        for position, digest in enumerate(ordered):
            assigned[digest] = "test" if position < test else "validation" if position < test + validation else "train"
    return assigned


def _sizes(images: int, validation_fraction: float, test_fraction: float) -> Sequence[int]:
    test = min(max(1, round(images * test_fraction)), images - 2)
    validation = min(max(1, round(images * validation_fraction)), images - test - 1)
    return test, validation
