"""Labels of a model's versions: when one moves, and which one a version is known by."""

from collections.abc import Collection, Mapping

from serving.model_config import STABLE
from serving.traffic import CANARY


def move_labels(
    borne: dict[str, int], desired: Mapping[str, int], answering: Collection[int], new_may_wait: bool
) -> list[tuple[str, int]]:
    """Change `borne`, label to version, towards `desired`; returns the labels that went to a version.

    A label goes only to a version that is `answering`; `new_may_wait`: one that nobody bears may go to any.
    """
    for label in borne.keys() - desired.keys():
        del borne[label]
    moved = [
        (label, number)
        for label, number in desired.items()
        if borne.get(label) != number and (number in answering or (new_may_wait and label not in borne))
    ]
    borne.update(moved)
    return moved


def label_of(borne: Mapping[str, int], number: int) -> str:
    """The label that a version bears: `stable` or `canary` if it bears several; "" if it bears none."""
    found = [label for label, labelled in sorted(borne.items()) if labelled == number]
    return next((label for label in (STABLE, CANARY) if label in found), found[0] if found else "")
