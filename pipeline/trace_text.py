"""A trace as a document, and as a page for people."""

from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

from pipeline.lives import Life
from pipeline.summary import table
from pipeline.trace import Trace
from registry.client import ModelVersion
from registry.deployment import DEPLOY, DEPLOY_REASON
from registry.gate import report_from_dict
from registry.register import DATASET_DIGEST, MANIFEST_DIGEST
from serving.servable.manifest import Manifest

_WIDTH = 10


def as_dict(found: Trace) -> dict[str, Any]:
    """The trace as plain JSON values."""
    version, manifest, approval = found.version, found.manifest, found.approval
    commit, dirty = found.commit
    return {
        "request_id": found.request_id,
        "model": version.name,
        "version": version.version,
        "aliases": list(version.aliases),
        "stage": version.stage,
        "registered_ms": version.created_ms,
        "live": [life.as_dict() for life in found.lives],
        "deployments": {name: [life.as_dict() for life in each] for name, each in found.deployed.items()},
        "approver": None if approval is None else approval.actor,
        "forced": approval is not None and approval.forced,
        "gate": found.gate,
        "run": {
            "id": version.run_id,
            "name": found.run_tags.get("mlflow.runName"),
            "user": found.run_tags.get("mlflow.user"),
        },
        "commit": commit,
        "dirty": dirty,
        "dataset": {"digest": version.tags.get(DATASET_DIGEST), "source": found.data_source},
        "servable": {
            "digest": version.tags.get(MANIFEST_DIGEST),
            "files": None if manifest is None else len(manifest.files),
            "size_bytes": None if manifest is None else manifest.size_bytes,
        },
        "variants": [] if manifest is None else variant_rows(manifest),
        "notes": list(found.notes),
    }


def variant_rows(manifest: Manifest) -> list[dict[str, Any]]:
    """A row a variant: what it was measured to be, None where it was not."""
    return [
        {
            "variant": name,
            "accuracy": None if record.measured is None else record.measured.accuracy,
            "images": None if record.measured is None else record.measured.images,
            "parity": record.parity,
        }
        for name, record in sorted(manifest.variants.items())
    ]


def as_text(found: Trace) -> str:
    """The trace as lines of a label and what it says, the gate's report and the variants as tables below them."""
    version = found.version
    asked = "" if found.request_id is None else f", which gave the answer {found.request_id}"
    registered = datetime.fromtimestamp(version.created_ms / 1000, UTC).isoformat(timespec="seconds")
    lines = [
        f"{version.name} version {version.version}{asked}",
        _line("stands", ", ".join(_standing(version)) or "no alias, no stage"),
        *(_line("live", _life(life)) for life in found.lives),
        *(_line("live", f"as {name}, {_life(life)}") for name, each in found.deployed.items() for life in each),
        *([] if found.lives or found.deployed else [_line("live", "never, as far as the ledger knows")]),
        _line("approver", _approver(found)),
        _line("run", _run(found)),
        _line("registered", registered),
        _line("commit", _commit(found)),
        _line("dataset", f"{version.tags.get(DATASET_DIGEST, 'unknown')}, from {found.data_source or 'unknown'}"),
        _line("servable", _servable(found)),
        *(_line("note", note) for note in found.notes),
    ]
    if found.gate is not None:
        lines += ["", report_from_dict(found.gate).table()]
    if found.manifest is not None:
        lines += ["", table(_shown_variants(found.manifest), ("variant", "accuracy", "images", "parity"))]
    return "\n".join(lines)


def _line(label: str, text: str) -> str:
    return f"{label:<{_WIDTH}} {text}"


def _standing(version: ModelVersion) -> Iterator[str]:
    """Its aliases, its stage, and what became of it when it was to be served."""
    yield from version.aliases
    if version.stage != "None":
        yield version.stage
    if DEPLOY in version.tags:
        reason = version.tags.get(DEPLOY_REASON)
        yield f"{version.tags[DEPLOY]} ({reason})" if reason else version.tags[DEPLOY]


def _life(life: Life) -> str:
    forced = ", forced" if life.forced else ""
    because = f": {life.reason}" if life.reason else ""
    until = " until now" if life.until is None else f" until {life.until}, {life.ended}"
    return f"since {life.since}, {life.action} by {life.actor} ({life.origin}{forced}){because};{until}"


def _approver(found: Trace) -> str:
    approval = found.approval
    if approval is None:
        return "nobody: it was never promoted to champion"
    return f"{approval.actor}, against the gate" if approval.forced else approval.actor


def _run(found: Trace) -> str:
    name, user = found.run_tags.get("mlflow.runName"), found.run_tags.get("mlflow.user")
    return found.version.run_id + (f", {name}" if name else "") + (f", by {user}" if user else "")


def _commit(found: Trace) -> str:
    commit, dirty = found.commit
    return f"{commit}, and changes that were not committed" if dirty else commit


def _servable(found: Trace) -> str:
    digest = found.version.tags.get(MANIFEST_DIGEST, "none")
    if found.manifest is None:
        return f"manifest {digest}"
    return f"{len(found.manifest.files)} files, {found.manifest.size_bytes / 1e6:.1f} MB, manifest {digest}"


def _shown_variants(manifest: Manifest) -> list[dict[str, Any]]:
    return [
        row
        | {"accuracy": None if row["accuracy"] is None else f"{row['accuracy']:.4f}", "parity": f"{row['parity']:.1e}"}
        for row in variant_rows(manifest)
    ]
