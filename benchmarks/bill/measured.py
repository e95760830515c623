"""What was measured, as docs/benchmarks/bill.json has it."""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path

ROOT = Path(__file__).parents[2]
FILE = ROOT / "docs" / "benchmarks" / "bill.json"


@dataclass(frozen=True)
class Asked:
    """Requests of one kind, one image each, to one server.

    cpu_ms: processor milliseconds of the server for one of them. bytes_in, bytes_out: of one, as the server's TCP
    connection carries it.
    """

    requests: int
    failed: int
    throughput: float
    cpu_ms: float
    bytes_in: int
    bytes_out: int


@dataclass(frozen=True)
class Bulk:
    """Encoded images classified in one process without a server. cpu_ms: for one of them, decoding included."""

    images: int
    throughput: float
    cpu_ms: float
    rss_mb: float


@dataclass(frozen=True)
class Served:
    """One variant. bytes: of its files. rss_mb: of the server's process after its requests. asked: by kind.

    load: the machine's load average of the minute before. seconds: that each kind of request was asked.
    """

    load: float
    seconds: float
    bytes: int
    first_answer_s: float
    rss_mb: float
    asked: Mapping[str, Asked]
    bulk: Bulk


@dataclass(frozen=True)
class Measured:
    """All of it. date: of the last measurement. version_bytes: with all variants. jpeg_bytes: of a file."""

    machine: str
    date: str
    cores: int
    version_bytes: int
    jpeg_bytes: int
    variants: Mapping[str, Served]


def save(measured: Measured, file: Path = FILE) -> None:
    """Write it."""
    file.write_text(json.dumps(asdict(measured), indent=2) + "\n", encoding="utf-8")


def read(file: Path = FILE) -> Measured:
    """What `save` wrote."""
    document = json.loads(file.read_text(encoding="utf-8"))
    variants = {name: _served(each) for name, each in document.pop("variants").items()}
    return Measured(**document, variants=variants)


def beside(newer: Measured, file: Path = FILE) -> Measured:
    """What `file` has of other variants, on the same machine and of the same version, with the newer ones."""
    if not file.exists():
        return newer
    older = read(file)
    if (older.machine, older.version_bytes) != (newer.machine, newer.version_bytes):
        return newer
    return replace(newer, variants=dict(sorted({**older.variants, **newer.variants}.items())))


def _served(document: dict) -> Served:
    asked = {kind: Asked(**each) for kind, each in document.pop("asked").items()}
    return Served(**{**document, "asked": asked, "bulk": Bulk(**document["bulk"])})
