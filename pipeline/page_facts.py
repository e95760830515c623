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

    Only where the pass has done something, MLflow's address is another, or the ledger has an entry that the file does
    not know: a quiet pass costs a read of the file, and one question to the ledger. of_all: the pass was over all
    models, and others are in the file no more. What keeps it from being written, or one model's part from being new, is
    said, and nothing else comes of it: no server needs the file.
    """
    try:
        _refresh(world, made, of_all=of_all)
    except Exception as error:  # noqa: BLE001 - what went live is live, whatever the page cannot say of it
        world.say(f"{PAGE_FILE} stays as it was: {_described(error)}")


def _refresh(world: "World", made: "Report", *, of_all: bool) -> None:
    address, present = _parsed(world.store.update_file(PAGE_FILE, lambda content: content))
    mlflow = ui_address(world.config.reconcile.mlflow_ui or world.registry.tracking_uri)
    last = world.ledger.last_ids()
    passed = {each.name for each in made.models}
    stale = [
        each.name
        for each in made.models
        if each.done or present.get(each.name, {}).get("ledger_id") != last.get(each.name)
    ]
    fresh = _fresh(world, stale)
    if not fresh and address == mlflow and not (of_all and present.keys() - passed):
        return

    def update(content: bytes | None) -> bytes:
        kept = {name: facts for name, facts in _parsed(content)[1].items() if name in passed or not of_all}
        return page_file(mlflow, kept | fresh)

    world.store.update_file(PAGE_FILE, update)


def _fresh(world: "World", stale: Sequence[str]) -> dict[str, Facts]:
    """The facts of the models that have them now: one model's trouble keeps no other one's old."""
    fresh = {}
    for name in stale:
        try:
            fresh[name] = model_facts(world, name)
        except Exception as error:  # noqa: BLE001 - as for the whole file
            world.say(f"{PAGE_FILE} keeps what it said of {name}: {_described(error)}")
    return fresh


def _described(error: Exception) -> str:
    foreseen = isinstance(error, SlipwayError)
    return str(error) if foreseen else f"unforeseen {type(error).__name__}: {without_credentials(str(error))}"


def model_facts(world: "World", name: str) -> Facts:
    """One model's part of the file: who made live what is, the newest entries of the ledger, the model cards."""
    from pipeline.reconcile.world import read_listing

    entries = world.ledger.entries(name)
    labels = read_listing(world, name)[0].labels
    numbers = sorted(set(labels.values()))
    return {
        "ledger_id": entries[-1].id if entries else None,
        "labels": {label: _since(world.registry, name, label, number, entries) for label, number in labels.items()},
        "ledger": [_shown(entry) for entry in reversed(entries[-_ENTRIES:])],
        "cards": {str(number): card_text(world.registry, name, number) for number in numbers},
        "runs": {str(number): world.registry.version(name, number).run_id for number in numbers},
    }


def ui_address(uri: str) -> str | None:
    """Where MLflow's UI is, without credentials; None where the records are a database or a folder.

    uri: of the UI, or of the tracking server, which has it.
    """
    parts = urlsplit(uri)
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


def _parsed(content: bytes | None) -> tuple[str | None, dict[str, Facts]]:
    """What the file says; nothing where it is missing or none of ours: it is written anew."""
    if content is None:
        return None, {}
    try:
        return parse_page_file(content, PAGE_FILE)
    except InputError:
        return None, {}
