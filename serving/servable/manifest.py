"""The manifest: what a servable is, and the digest of every file it consists of.

`seal` writes it when a bundle is finished. The digest of the manifest's own bytes then stands for the whole bundle:
who holds that digest can verify every byte of it, in the bundle or where it is published.
"""

import json
import os
import re
import stat
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any, NotRequired, TypedDict, Unpack

from serving.servable.images import MAX_PIXELS
from serving.servable.layout import MANIFEST, check_relative_path, published_path
from slipway.errors import IntegrityError
from slipway.files import sha256_bytes, sha256_file, write_atomically

FORMAT = 1


@dataclass(frozen=True)
class FileEntry:
    """One file's content."""

    sha256: str  # 64 lower-case hex digits
    size_bytes: int


@dataclass(frozen=True)
class Measurement:
    """What a variant did on the evaluation split, and on the machine that it was built on."""

    images: int  # of the evaluation split
    accuracy: float  # top-1 on it, 0 to 1
    accuracy_drop: float  # how far below the trained network's
    drop_low: float  # the 95 % interval of that
    drop_high: float
    agreement: float  # share of the images whose first class is the trained network's
    largest_difference: float  # of any probability, to the trained network's
    throughput: float  # images per second, two at once
    p50_ms: float  # of one image alone
    p95_ms: float
    load_s: float  # from nothing to loaded
    memory_bytes: int  # growth of a process that loads and runs it
    size_bytes: int  # of its files
    processor: str


@dataclass(frozen=True)
class VariantRecord:
    """How near a variant's answers to its golden requests must be wherever it serves, and what it was measured to be.

    A variant other than the reference has golden answers of its own, and `tolerance` is the distance to them.
    """

    tolerance: float
    parity: float  # largest |difference| to the trained network's probabilities on the golden requests
    measured: Measurement | None = None  # None: it was not compared with others


class Facts(TypedDict):
    """What a manifest says beside its files."""

    run_id: str
    git_commit: str
    dataset_digest: str
    image_size: tuple[int, int]  # height, width
    classes: int
    variants: Mapping[str, VariantRecord]
    signatures: Mapping[str, Mapping[str, Any]]
    max_pixels: NotRequired[int]
    refused_variants: NotRequired[Mapping[str, str]]


@dataclass(frozen=True)
class Manifest:
    """A sealed servable: where it came from, what it answers, and which files it consists of."""

    run_id: str
    git_commit: str
    dataset_digest: str
    image_size: tuple[int, int]  # height, width
    classes: int
    variants: Mapping[str, VariantRecord]
    signatures: Mapping[str, Mapping[str, Any]]  # name -> {"inputs": {name: {dtype, shape}}, "outputs": ...}
    files: Mapping[str, FileEntry]  # path below the bundle, POSIX; every file but manifest.json
    max_pixels: int = MAX_PIXELS  # of an encoded image
    refused_variants: Mapping[str, str] = field(default_factory=dict)  # name -> why it is not in this servable

    @property
    def size_bytes(self) -> int:
        """Size of all files together."""
        return sum(entry.size_bytes for entry in self.files.values())


def seal(bundle: Path, **facts: Unpack[Facts]) -> str:
    """Hash every file below `bundle`, write `manifest.json` beside them, and return the manifest's digest.

    IntegrityError if the bundle holds a symbolic link, or a file that has no place in a version directory.
    """
    files = {}
    for path in files_below(bundle, str(bundle)):
        if path != MANIFEST:
            published_path(path)
            files[path] = FileEntry(sha256_file(bundle / path), (bundle / path).stat().st_size)
    document = {"format": FORMAT} | asdict(Manifest(**facts, files=files))
    data = json.dumps(document, sort_keys=True, indent=1, allow_nan=False).encode() + b"\n"
    parse_manifest(data, str(bundle / MANIFEST))
    write_atomically(bundle / MANIFEST, data)
    return sha256_bytes(data)


def read_manifest(path: Path) -> Manifest:
    """The manifest in the file `path`; IntegrityError if it is missing, malformed, or of an unknown format."""
    return parse_manifest(_read(path, str(path)), str(path))


def files_below(root: Path, origin: str) -> Iterator[str]:
    """Relative POSIX paths of all regular files; IntegrityError for a symbolic link or another special file."""
    pending = [("", root.lstat().st_mode)]
    while pending:
        path, mode = pending.pop()
        if stat.S_ISREG(mode) and path:
            yield path
        elif stat.S_ISDIR(mode):
            with os.scandir(root / path) as entries:
                pending += [
                    (f"{path}/{entry.name}" if path else entry.name, entry.stat(follow_symlinks=False).st_mode)
                    for entry in entries
                ]
        else:
            raise IntegrityError(
                f"{origin}: {path or '.'!r} is not a plain file in a directory, but a symbolic link or the like; "
                "expected what was sealed. Replace it by a copy of what it stands for."
            )


def _read(path: Path, origin: str) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise IntegrityError(
            f"{origin}: cannot be read ({error.strerror}); expected a servable's manifest. Fetch the servable again."
        ) from error


def parse_manifest(data: bytes, origin: str) -> Manifest:
    """The manifest whose bytes are `data`; IntegrityError, which names `origin`, if they are none."""
    try:
        return _manifest(json.loads(data, parse_constant=_refuse_constant))
    except (ValueError, KeyError, TypeError, AttributeError, ArithmeticError, RecursionError, IntegrityError) as error:
        reason = f"key {error} is missing" if isinstance(error, KeyError) else " ".join(str(error).split())
        raise IntegrityError(
            f"{origin}: not a servable's manifest ({reason}); expected what Slipway sealed, format {FORMAT}. "
            "Fetch the servable again, or use the Slipway that made it."
        ) from error


def _manifest(document: Any) -> Manifest:
    if _typed(document, dict)["format"] != FORMAT:
        raise ValueError(f"format {document['format']!r}")
    height, width = _typed(document["image_size"], list)
    return Manifest(
        run_id=_typed(document["run_id"], str),
        git_commit=_typed(document["git_commit"], str),
        dataset_digest=_typed(document["dataset_digest"], str),
        image_size=(_count(height), _count(width)),
        classes=_count(document["classes"]),
        variants={name: parse_record(variant) for name, variant in _typed(document["variants"], dict).items()},
        signatures={name: _typed(spec, dict) for name, spec in _typed(document["signatures"], dict).items()},
        files={
            check_relative_path(path): FileEntry(_sha256(entry["sha256"]), _count(entry["size_bytes"]))
            for path, entry in _typed(document["files"], dict).items()
        },
        # Servables from before there were variants beside the reference do not have these two.
        max_pixels=_count(document.get("max_pixels", MAX_PIXELS)),
        refused_variants={
            name: _typed(reason, str) for name, reason in _typed(document.get("refused_variants", {}), dict).items()
        },
    )


def parse_record(document: Any) -> VariantRecord:
    """The record that `dataclasses.asdict` made a document of; KeyError, TypeError or ValueError if it is none."""
    measured = document.get("measured")
    return VariantRecord(
        _number(document["tolerance"]), _number(document["parity"]), None if measured is None else _measured(measured)
    )


def _measured(document: Any) -> Measurement:
    readers: dict[Any, Callable[[Any], Any]] = {int: _count, float: _number, str: lambda value: _typed(value, str)}
    return Measurement(**{item.name: readers[item.type](document[item.name]) for item in fields(Measurement)})


def _number(value: Any) -> float:
    return float(_typed(value, int, float))


def _refuse_constant(name: str) -> None:
    raise ValueError(f"{name} where a number is expected")


def _typed(value: Any, *types: type) -> Any:
    if not isinstance(value, types) or isinstance(value, bool):
        raise TypeError(f"{value!r:.60} where {' or '.join(kind.__name__ for kind in types)} is expected")
    return value


def _count(value: Any) -> int:
    if _typed(value, int) < 0:
        raise ValueError(f"{value} where a count is expected")
    return int(value)


def _sha256(value: Any) -> str:
    if not re.fullmatch("[0-9a-f]{64}", _typed(value, str)):
        raise ValueError(f"{value!r:.80} where a sha256 is expected")
    return str(value)
