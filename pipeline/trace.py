"""From an answer back to everything that led to it: version, approval, gate, run, code, data, bytes."""

import json
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipeline.config import Config
from pipeline.lives import Life, lives
from pipeline.package import SERVABLE
from pipeline.plugin.records import read_records
from pipeline.run_inputs import CONFIG_ARTIFACT
from registry.client import ModelVersion, Registry
from registry.gate import report_from_dict
from registry.ledger import Ledger
from registry.register import GIT_COMMIT, MANIFEST_DIGEST
from serving.request_ids import NO_DIGEST, parse_request_id
from serving.servable.layout import MANIFEST
from serving.servable.manifest import Manifest, read_manifest
from serving.stores import open_store
from slipway.errors import InputError, IntegrityError, NotFoundError, SlipwayError
from slipway.files import sha256_file

_DIRTY = "-dirty"


@dataclass(frozen=True)
class Trace:
    """What is known of a version. `notes` say what could not be found out, and why.

    deployed: by the name of each deployment of its own, every time the version was live in it.
    """

    request_id: str | None  # None: a version was asked for
    version: ModelVersion
    lives: tuple[Life, ...]  # every time it was live, oldest first
    deployed: Mapping[str, tuple[Life, ...]]
    gate: Mapping[str, Any] | None  # GateReport.as_dict()
    run_tags: Mapping[str, str]
    data_source: str | None
    manifest: Manifest | None
    notes: tuple[str, ...]

    @property
    def approval(self) -> Life | None:
        """The promotion that made it live last: its actor is who approved it."""
        return next((life for life in reversed(self.lives) if life.action == "promote"), None)

    @property
    def commit(self) -> tuple[str, bool]:
        """The commit of the code that trained it, and whether that code was changed since the commit."""
        commit = self.version.tags.get(GIT_COMMIT, "unknown")
        return commit.removesuffix(_DIRTY), commit.endswith(_DIRTY)


def trace(config: Config, ledger: Ledger, what: str) -> Trace:
    """Trace a request id, or a version of `config.name` by its number.

    Raises InputError for what is neither, or an id that several models could have given, NotFoundError for a version
    that the registry does not have.
    """
    registry = Registry()
    by_number = what.isascii() and what.isdigit()
    version = registry.version(config.name, what) if by_number else _answered(registry, config.name, what)
    notes: list[str] = []
    was_live = lives(ledger.entries(version.name), version.version)
    approved = next((life.gate_report for life in reversed(was_live) if life.gate_report is not None), None)
    gate = approved if approved is not None else _logged_report(registry, version, notes)
    return Trace(
        request_id=None if by_number else what,
        version=version,
        lives=was_live,
        deployed=_deployed(config, ledger, version, notes),
        gate=gate,
        run_tags=_run_tags(registry, version, notes),
        data_source=_data_source(registry, version, notes),
        manifest=_manifest(registry, version, notes),
        notes=tuple(notes),
    )


def _answered(registry: Registry, name: str, request_id: str) -> ModelVersion:
    """The version that gave an answer; `name`'s if the digest is its, else the one of another model."""
    try:
        asked = parse_request_id(request_id)
    except InputError as error:
        raise InputError(f"{error} Or name a version by its number.") from None
    if asked.version == 0:
        raise NotFoundError(f"{request_id}: no version gave this answer; it was refused before one was chosen.")
    if asked.digest_prefix == NO_DIGEST:
        raise NotFoundError(
            f"{request_id}: version {asked.version} that gave this answer has no manifest; expected one that "
            "`slipway register` made. What is not Slipway's cannot be traced."
        )
    found = [
        version
        for version in registry.versions_tagged(MANIFEST_DIGEST, asked.digest_prefix)
        if version.version == asked.version
    ]
    named = [version for version in found if version.name == name]
    if named or len(found) == 1:
        return (named or found)[0]
    if found:
        names = ", ".join(sorted(version.name for version in found))
        raise InputError(f"{request_id}: registered as version {asked.version} of {names}. Say which by --name.")
    raise NotFoundError(
        f"{request_id}: no model of {registry!r} has a version {asked.version} whose manifest's digest begins with "
        f"{asked.digest_prefix}. It was deleted, or the server reads another registry's base path: set "
        "MLFLOW_TRACKING_URI to that registry."
    )


def _deployed(
    config: Config, ledger: Ledger, version: ModelVersion, notes: list[str]
) -> Mapping[str, tuple[Life, ...]]:
    """What the ledger has of it under the names of deployments that were made of its model."""
    try:
        records = read_records(open_store(config.base))
    except SlipwayError as error:
        notes.append(f"deployments: {error}")
        return {}
    names = sorted(name for name, record in records.items() if record.model == version.name and name != version.name)
    found = {name: lives(ledger.entries(name), version.version) for name in names}
    return {name: each for name, each in found.items() if each}


def _logged_report(registry: Registry, version: ModelVersion, notes: list[str]) -> Mapping[str, Any] | None:
    """The gate's last report on the version, from its run."""
    text = _artifact(registry, version, f"gate/{version.name}-{version.version}.json")
    if text is None:
        notes.append("no gate report: the gate has not judged it")
        return None
    report = _document(text)
    try:
        report_from_dict(report or {}).table()
    except (KeyError, TypeError, ValueError, AttributeError):
        notes.append("gate report: what its run has is none")
        return None
    return report


def _run_tags(registry: Registry, version: ModelVersion, notes: list[str]) -> Mapping[str, str]:
    try:
        return registry.run_tags(version.run_id)
    except NotFoundError as error:
        notes.append(f"run: {error}")
        return {}


def _data_source(registry: Registry, version: ModelVersion, notes: list[str]) -> str | None:
    text = _artifact(registry, version, CONFIG_ARTIFACT)
    document = None if text is None else _document(text)
    data = {} if document is None else document.get("data", {})
    source = data.get("source") if isinstance(data, Mapping) else None
    if not isinstance(source, str):
        notes.append(f"where the images came from is not recorded: its run has no {CONFIG_ARTIFACT}")
        return None
    return source


def _document(text: bytes) -> Mapping[str, Any] | None:
    """The JSON object in a run's artifact; None if somebody wrote something else there."""
    try:
        found = json.loads(text)
    except (ValueError, RecursionError):
        return None
    return found if isinstance(found, dict) else None


def _artifact(registry: Registry, version: ModelVersion, path: str) -> bytes | None:
    try:
        return registry.read_artifact(version.run_id, path)
    except NotFoundError:
        return None


def _manifest(registry: Registry, version: ModelVersion, notes: list[str]) -> Manifest | None:
    """The registered manifest; None, with a note, where it cannot be had or is another one."""
    try:
        with tempfile.TemporaryDirectory(prefix="slipway-trace-") as scratch:
            path = registry.download(version, f"{SERVABLE}/{MANIFEST}", Path(scratch))
            if sha256_file(path) != version.tags.get(MANIFEST_DIGEST):
                raise IntegrityError(
                    "the manifest in the artifact store is not the registered one. Run: slipway verify "
                    f"--name {version.name} --version {version.version}"
                )
            return read_manifest(path)
    except SlipwayError as error:
        notes.append(f"servable: {error}")
        return None
