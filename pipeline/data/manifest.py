"""A CSV manifest as a source: path,label[,split], paths relative to the CSV file's folder."""

import os
import warnings
from pathlib import Path
from typing import TYPE_CHECKING

from pipeline.data.listing import Candidate, Listing, shown
from pipeline.data.problems import Problem
from pipeline.data.splits import SPLITS
from slipway.errors import InputError

if TYPE_CHECKING:
    import pandas as pd


def list_manifest(manifest: Path) -> Listing:
    """List a manifest's rows. Raises InputError if it cannot be read as a table with the columns path and label."""
    table = _read(manifest)
    listing = Listing(manifest)
    first_line: dict[Path, int] = {}
    splits = table["split"] if "split" in table else [None] * len(table)
    for line, path, label, split in zip(table.index + 2, table["path"], table["label"], splits, strict=True):
        place = f"{manifest.name}:{line}"
        if fault := _fault(path, label, split):
            listing.problems.append(Problem(place, fault))
            continue
        file = Path(os.path.normpath(manifest.parent / path))
        if file in first_line:
            fault = f"names {shown(path)} again, after line {first_line[file]}; expected each image once. Remove a row."
            listing.problems.append(Problem(place, fault))
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


def _read(manifest: Path) -> "pd.DataFrame":
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
        raise InputError(f"{manifest}: {fault}; {expected}. Mend it.") from error
    table.columns = table.columns.str.strip()
    if missing := {"path", "label"} - set(table.columns):
        raise InputError(
            f"{manifest}: has columns {','.join(table.columns)}, without {' and '.join(sorted(missing))}; {expected}. "
            "Edit its first line."
        )
    return table[(table != "").any(axis=1)]
