"""A CSV manifest as a source: path,label[,split], paths relative to the CSV file's folder."""

import os
import warnings
from collections.abc import Callable
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

from pipeline.data.listing import Candidate, Listing, shown
from pipeline.data.problems import Problem
from pipeline.data.splits import SPLITS
from slipway.errors import InputError

if TYPE_CHECKING:
    import pandas as pd


Find = Callable[[str], Path | None]
"""Where the image is that a row names by its path; None if a manifest of that place may not name it."""


def list_manifest(manifest: Path, place: str = "", find: Find | None = None) -> Listing:
    """List a manifest's rows. Raises InputError if it cannot be read as a table with the columns path and label.

    place, find: where it was fetched from, and how images are found there; without them, it lies where it is.
    """
    place = place or str(manifest)
    find = find or (lambda path: Path(os.path.normpath(manifest.parent / path)))
    table = _read(manifest, place)
    listing = Listing(place)
    first_line: dict[Path, int] = {}
    splits = table["split"] if "split" in table else [None] * len(table)
    for line, path, label, split in zip(table.index + 2, table["path"], table["label"], splits, strict=True):
        row = f"{PurePosixPath(place).name}:{line}"
        if fault := _fault(path, label, split):
            listing.problems.append(Problem(row, fault))
            continue
        file = find(path)
        if file is None:
            fault = f"names {shown(path)}, outside the bucket; expected a path relative to the manifest. Edit the row."
            listing.problems.append(Problem(row, fault))
            continue
        if file in first_line:
            fault = f"names {shown(path)} again, after line {first_line[file]}; expected each image once. Remove a row."
            listing.problems.append(Problem(row, fault))
            continue
        first_line[file] = line
        listing.labels.add(label)
        listing.candidates.append(Candidate(path, file, label, split))
    return listing


def _fault(path: str, label: str, split: str | None) -> str | None:
    if not path or not path.isprintable():
        return f"path is {path!r}; expected an image's path, without control characters. Edit the row."
    if not label:
        return "label is empty; expected the image's class. Edit the row."
    if split is not None and split not in SPLITS:
        meant = next((name for name in SPLITS if name[:3] == split.lower()[:3]), None)
        remedy = f"Write '{meant}'." if meant else "Edit the row, or leave the column out."
        return f"split is {split!r}; expected train, validation or test. {remedy}"
    return None


def _read(manifest: Path, place: str) -> "pd.DataFrame":
    """The table's cells as text; the index counts from the line after the header; empty lines are left out."""
    import pandas as pd

    expected = "expected UTF-8 text with the columns path,label and optionally split"
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", pd.errors.ParserWarning)  # rows longer than the header
            table = pd.read_csv(
                manifest,
                dtype=str,
                keep_default_na=False,
                encoding="utf-8-sig",
                index_col=False,
                skip_blank_lines=False,
            ).fillna("")
    except (OSError, ValueError, pd.errors.ParserWarning) as error:
        fault = str(error).strip().replace("\n", " ")
        raise InputError(f"{place}: {fault}; {expected}. Mend it.") from error
    table.columns = table.columns.str.strip()
    if missing := {"path", "label"} - set(table.columns):
        raise InputError(
            f"{place}: has columns {','.join(table.columns)}, without {' and '.join(sorted(missing))}; {expected}. "
            "Edit its first line."
        )
    return table[(table != "").any(axis=1)]
