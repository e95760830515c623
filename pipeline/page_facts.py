"""`page.json` in the base path: what the registry and the ledger know, for the page of the servers that read there."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from registry.client import Registry
from registry.deployment import DEPLOY_TIME
from registry.full_card import card_text
from registry.history import to_row, utc
from registry.ledger import CHALLENGER, CHAMPION, LedgerEntry
from serving.model_config import STABLE
from serving.page_file import PAGE_FILE, Facts, page_file, parse_page_file
from serving.traffic import CANARY
from slipway.credentials import without_credentials
from slipway.errors import InputError, SlipwayError

if TYPE_CHECKING:
    from pipeline.reconcile.report import Report
    from pipeline.reconcile.world import World

_ENTRIES = 10
_ALIAS_OF = {STABLE: CHAMPION, CANARY: CHALLENGER}
_MOVES_NOTHING = {"refuse", "rollout"}


def refresh_page(world: "World", made: "Report", *, of_all: bool) -> None:
    """Have the file say of the models of a pass what registry and ledger say now.

    Only where the pass has done something, or the ledger has an entry that the file does not know: a quiet pass costs
    one question to the ledger. of_all: the pass was over all models, and others are in the file no more. What keeps it
    from being written is said, and nothing else comes of it: no server needs the file.
    """
    try:
        _refresh(world, made, of_all=of_all)
    except SlipwayError as error:
        world.say(f"{PAGE_FILE} stays as it was: {error}")


def _refresh(world: "World", made: "Report", *, of_all: bool) -> None:
    present = _models(world.store.update_file(PAGE_FILE, lambda content: content))
    last = world.ledger.last_ids()
    passed = {each.name for each in made.models}
    stale = [
        each.name
        for each in made.models
        if each.done or present.get(each.name, {}).get("ledger_id") != last.get(each.name)
    ]
    if not stale and not (of_all and present.keys() - passed):
        return
    fresh = {name: model_facts(world, name) for name in stale}

    def update(content: bytes | None) -> bytes:
        kept = {name: facts for name, facts in _models(content).items() if name in passed or not of_all}
        return page_file(ui_address(world.registry.tracking_uri), kept | fresh)

    world.store.update_file(PAGE_FILE, update)


def model_facts(world: "World", name: str) -> Facts:
    """One model's part of the file: who made live what is, the newest entries of the ledger, the model cards."""
    from pipeline.reconcile.world import read_listing

    entries = world.ledger.entries(name)
    labels = read_listing(world, name)[0].labels
    return {
        "ledger_id": entries[-1].id if entries else None,
        "labels": {label: _since(world.registry, name, label, number, entries) for label, number in labels.items()},
        "ledger": [_shown(entry) for entry in reversed(entries[-_ENTRIES:])],
        "cards": {str(number): card_text(world.registry, name, number) for number in sorted(set(labels.values()))},
    }


def ui_address(tracking_uri: str) -> str | None:
    """Where MLflow's UI is, without credentials; None where the records are a database or a folder."""
    parts = urlsplit(tracking_uri)
    if parts.scheme not in {"http", "https"} or not parts.hostname:
        return None
    host = f"[{parts.hostname}]" if ":" in parts.hostname else parts.hostname
    port = f":{parts.port}" if parts.port else ""
    return f"{parts.scheme}://{host}{port}{parts.path.rstrip('/')}"


def _since(registry: Registry, name: str, label: str, number: int, entries: Sequence[LedgerEntry]) -> dict[str, Any]:
    """Since when a version bears its label, by whom, and why; what nobody recorded is ""."""
    moved = next(
        (
            entry
            for entry in reversed(entries)
            if (entry.alias, entry.to_version) == (_ALIAS_OF.get(label), number) and entry.action not in _MOVES_NOTHING
        ),
        None,
    )
    if moved is None:
        since = registry.version(name, number).tags.get(DEPLOY_TIME, "")
        return {"version": number, "since": since, "actor": "", "origin": "", "reason": ""}
    return {
        "version": number,
        "since": utc(moved.time_s),
        "actor": without_credentials(moved.actor),
        "origin": moved.origin,
        "reason": without_credentials(moved.reason),
    }


def _shown(entry: LedgerEntry) -> dict[str, Any]:
    row = to_row(entry)
    rules = (entry.gate_report or {}).get("rules", ())
    return {
        "id": row.id,
        "time": row.time,
        "action": row.action,
        "alias": row.alias,
        "from_version": row.from_version,
        "to_version": row.to_version,
        "actor": without_credentials(row.actor),
        "origin": row.origin,
        "reason": without_credentials(row.reason),
        "gate": row.gate.text(),
        "rules": list(rules),
    }


def _models(content: bytes | None) -> dict[str, Facts]:
    """What the file says of each model; nothing where it is missing or none of ours: it is written anew."""
    if content is None:
        return {}
    try:
        return parse_page_file(content, PAGE_FILE)[1]
    except InputError:
        return {}
