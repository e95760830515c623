"""Everything wrong with a dataset, found before training and said at once."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from slipway.files import write_atomically

SHOWN = 30
"""As many problems stand in the message; the rest are in the file that it names."""


@dataclass(frozen=True)
class Problem:
    """One fault and its place: an image's path, a class, a row of a manifest.

    skippable: it concerns one image, without which the dataset still holds.
    """

    place: str
    fault: str
    skippable: bool = False

    def __str__(self) -> str:
        return f"{self.place}: {self.fault}"


def describe(problems: Sequence[Problem], source: str, workdir: Path) -> str:
    """One line for one problem; else a headline with the count and the remedy, and a line each.

    Above `SHOWN`, all of them are written to `workdir`/data-problems.txt, which the message names.
    """
    ordered = sorted(problems, key=lambda problem: (problem.skippable, problem.place))
    lines = [str(problem) for problem in ordered]
    skippable = sum(problem.skippable for problem in problems)
    if len(lines) == 1:
        remedy = " Mend or remove it, or pass --skip-bad-images." if skippable else ""
        return lines[0] + remedy
    aside = f", or pass --skip-bad-images to go on without bad images ({skippable})" if skippable else ""
    message = [f"data {source}: {len(lines)} problems; expected none. Mend them{aside}.", *lines[:SHOWN]]
    if len(lines) > SHOWN:
        workdir.mkdir(parents=True, exist_ok=True)
        everything = workdir / "data-problems.txt"
        write_atomically(everything, ("\n".join(lines) + "\n").encode())
        message.append(f"and {len(lines) - SHOWN} more, all of them in {everything}")
    return "\n  ".join(message)
