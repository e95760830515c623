"""Are the ledger and a version's bytes still what was recorded? Each question has a finding as its answer."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from pipeline.config import Config
from pipeline.publication import registered_digest, verify_source
from pipeline.signing.trust import trusted_keys
from pipeline.summary import table
from pipeline.verify import ask_golden
from registry.client import ModelVersion, Registry
from registry.ledger import Ledger, place_of
from registry.signing import verify_version
from serving.client.address import parse_address
from serving.stores import open_store
from slipway.errors import InputError, IntegrityError, SlipwayError
from slipway.statement import Statement

_ENOUGH = 12  # hex digits by which a digest is named


@dataclass(frozen=True)
class Finding:
    """What one question came to."""

    subject: str  # ledger, signature, registry, published, server
    whole: bool
    text: str


@dataclass(frozen=True)
class Findings:
    """What all questions came to, in the order in which they were asked."""

    findings: Sequence[Finding]

    @property
    def whole(self) -> bool:
        return all(finding.whole for finding in self.findings)

    def as_dict(self) -> dict[str, Any]:
        return {"whole": self.whole, "findings": [asdict(finding) for finding in self.findings]}

    def table(self) -> str:
        rows = [
            {"subject": each.subject, "verdict": "whole" if each.whole else "WRONG", "found": each.text}
            for each in self.findings
        ]
        return table(rows, ("subject", "verdict", "found"))


def open_own_ledger() -> Ledger:
    """The ledger, without asking MLflow's server whether it is there."""
    import mlflow

    from registry.database import default_database_url

    return Ledger(default_database_url(mlflow.get_tracking_uri()))


def check_ledger(ledger: Ledger, kept: str | None = None) -> Finding:
    """Whether every entry is the one that was appended.

    kept: the digest of an entry, or its beginning, which was kept elsewhere: the ledger must have it still. Only so is
    an end that was cut off found, or a ledger that was written anew as a whole.
    """
    if kept is not None and len(kept) < _ENOUGH:
        raise InputError(
            f"--digest {kept!r}: expected {_ENOUGH} hex digits or more, as `verify --ledger` printed them."
        )
    return _finding("ledger", lambda: _chain(ledger, kept))


def check_version(config: Config, version: ModelVersion, address: str | None) -> Iterator[Finding]:
    """Hold the registry's copy and the published one against the registered digest; ask a server, if one is named."""
    digest = registered_digest(version)
    if address is not None and not parse_address(address).is_grpc:
        raise InputError(f"--address {address}: golden requests are asked over gRPC. Pass grpc://HOST:8500.")
    if config.signing.trusted_keys:
        yield _finding("signature", lambda: _signed(config, version))
    yield _finding("registry", lambda: _registered(version, digest))
    yield _finding("published", lambda: _published(config, version, digest))
    if address is not None:
        yield _finding("server", lambda: ask_golden(address, version, open_store(config.base)).summary())


def _finding(subject: str, question: Callable[[], str]) -> Finding:
    try:
        return Finding(subject, whole=True, text=question())
    except InputError:
        raise
    except SlipwayError as error:
        return Finding(subject, whole=False, text=str(error))


def _chain(ledger: Ledger, kept: str | None) -> str:
    count = ledger.verify_chain()
    entries = ledger.entries()
    if kept is not None and not any(entry.digest.startswith(kept) for entry in entries):
        raise IntegrityError(
            f"{ledger!r}: none of its {count} entries has the digest {kept}; expected the one that was kept. "
            "Its end was cut off, or it was written anew: restore it from its backup."
        )
    last = f", the last one's digest is {entries[-1].digest}" if entries else ""
    return f"{place_of(ledger.engine)}: {count} entries, each the one that was appended{last}"


def _signed(config: Config, version: ModelVersion) -> str:
    return f"{version.name} version {version.version}: signed by key {verify_version(version, trusted_keys(config))}"


def _registered(version: ModelVersion, digest: str) -> str:
    verify_source(Registry(), version)
    return (
        f"{version.name} version {version.version} in the artifact store: every file as registered, manifest {digest}"
    )


def _published(config: Config, version: ModelVersion, digest: str) -> str:
    store = open_store(config.base)
    manifest = store.verify(version.name, version.version, digest)
    if config.signing.trusted_keys:
        signature = store.signature(version.name, version.version)
        trusted_keys(config).verify(signature, Statement(version.name, version.version, digest))
    place = f"{store.model_path(version.name)}/{version.version}"
    return f"{place}: every file as registered, {len(manifest.files)} files, {manifest.size_bytes / 1e6:.1f} MB"
