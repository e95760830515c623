"""What a dataset as a whole must be, one function a rule. None of these faults can be skipped."""

from collections import defaultdict
from collections.abc import Iterable, Sequence

from pipeline.data.listing import Candidate, shown
from pipeline.data.problems import Problem
from pipeline.data.splits import SPLITS

_LONGEST_LABEL = 200

Content = tuple[Candidate, str]
"""A candidate and the digest of its content (empty if it could not be read)."""


def check_labels(labels: Iterable[str]) -> list[Problem]:
    """Labels become file names, table headings and JSON: printable text, no path separator, no space around it."""
    return [
        Problem(
            f"class {label!r}",
            "has an odd name; expected printable characters, without '/', '\\' or space around, at most "
            f"{_LONGEST_LABEL}. Rename it.",
        )
        for label in sorted(labels)
        if label != label.strip() or not label.isprintable() or set(label) & {"/", "\\"} or len(label) > _LONGEST_LABEL
    ]


def check_classes(labels: Iterable[str], images: Sequence[Content], source: str) -> list[Problem]:
    """At least two classes, each with an image for every split; if the source has split them, in every split."""
    names = sorted(labels)
    if not names:
        return [
            Problem(source, "has no classes; expected a subfolder per class with images in it. Pass another --data.")
        ]
    problems = []
    if len(names) == 1:
        fault = f"has a single class, {names[0]!r}; expected two or more to tell apart. Add images of another class."
        problems.append(Problem(source, fault))
    members: dict[str, list[Content]] = defaultdict(list)
    for candidate, digest in images:
        members[candidate.label].append((candidate, digest))
    faults = ((name, _class_fault(members[name])) for name in names)
    return problems + [Problem(f"class {name!r}", fault) for name, fault in faults if fault]


def check_identical(images: Iterable[Content]) -> list[Problem]:
    """The same bytes never under two labels, nor in two splits that the source gives."""
    same: dict[str, list[Candidate]] = defaultdict(list)
    for candidate, digest in images:
        if digest:
            same[digest].append(candidate)
    problems = []
    for group in same.values():
        first, *others = sorted(group, key=lambda candidate: candidate.path)
        for other in others:
            if other.label != first.label:
                fault = f"is the same image, under label {first.label!r} and under {other.label!r}; expected one label"
            elif other.split != first.split:
                fault = f"is the same image, in split {first.split} and in {other.split}; expected one split"
            else:
                continue
            problems.append(Problem(f"{shown(first.path)} and {shown(other.path)}", f"{fault}. Remove one of them."))
    return problems


def _class_fault(members: Sequence[Content]) -> str | None:
    if not members:
        return "has no usable image; expected at least 3, one for each split. Add images or remove the class."
    if any(candidate.split for candidate, _ in members):
        absent = [split for split in SPLITS if split not in {candidate.split for candidate, _ in members}]
        if absent:
            return f"has no image in {' and '.join(absent)}; expected one in each split. Add images or change splits."
        return None
    distinct = len({digest or candidate.path for candidate, digest in members})
    if distinct < len(SPLITS):
        return (
            f"has {distinct} different usable image{'s'[: distinct != 1]}; expected at least 3, one for each split. "
            "Add images or remove the class."
        )
    return None
