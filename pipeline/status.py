"""Intent (the registry), fact (base path, server), and the difference between them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pipeline.config import Config
from pipeline.promotion import champion_and_previous, open_ledger
from pipeline.publication import configured
from pipeline.summary import table
from registry.client import ModelVersion, Registry
from registry.history import HistoryRow
from registry.history import history as ledger_rows
from registry.register import GATE
from serving.model_config import LABELS_CONFIG, MODELS_CONFIG
from serving.stores import open_store

_ASK_S = 5.0


@dataclass(frozen=True)
class Status:
    """Where one registered model stands."""

    name: str
    champion: int | None
    previous: int | None
    configured: Mapping[str, int | None]  # config file -> the version that it has live
    server: str | None  # what a server said, if one was asked
    versions: Sequence[ModelVersion]
    published: Sequence[int]

    @property
    def differences(self) -> list[str]:
        """What is not as the registry wants it; empty if nothing."""
        found = []
        if self.champion is not None and self.champion not in self.published:
            found.append(f"champion version {self.champion} is not published")
        found += [
            f"{file} has version {version} live, the champion is {self.champion}"
            for file, version in self.configured.items()
            if version != self.champion
        ]
        return found

    def as_dict(self) -> dict[str, Any]:
        return {
            "name": self.name,
            "champion": self.champion,
            "previous": self.previous,
            "configured": dict(self.configured),
            "server": self.server,
            "differences": self.differences,
            "versions": self._rows(),
        }

    def table(self) -> str:
        rows = table(self._rows(), ("version", "aliases", "stage", "gate", "published", "run"))
        lines = [f"{self.name}: champion {self.champion or 'none'}, a rollback goes to {self.previous or 'none'}", rows]
        lines += [] if self.server is None else [f"server: {self.server}"]
        lines += [f"difference: {each}; `slipway serve` mends it" for each in self.differences]
        lines += [] if self.differences else ["the base path is as the registry says"]
        return "\n".join(lines)

    def _rows(self) -> list[dict[str, Any]]:
        return [
            {
                "version": each.version,
                "aliases": ",".join(each.aliases),
                "stage": each.stage,
                "gate": each.tags.get(GATE, ""),
                "published": "yes" if each.version in self.published else "no",
                "run": each.run_id,
            }
            for each in self.versions
        ]


def status(config: Config, address: str | None) -> Status:
    """Where `config.name` stands; a server at `address` is asked too."""
    registry = Registry()
    champion, previous = champion_and_previous(registry, open_ledger(registry), config.name)
    store = open_store(config.base)
    return Status(
        name=config.name,
        champion=champion,
        previous=previous,
        configured=dict(zip((MODELS_CONFIG, LABELS_CONFIG), configured(config, config.name), strict=True)),
        server=None if address is None else _ask(address, config.name),
        versions=registry.versions(config.name),
        published=store.versions(config.name),
    )


def history(config: Config) -> tuple[HistoryRow, ...]:
    """The ledger's rows of `config.name`, oldest first."""
    registry = Registry()
    rows = ledger_rows(open_ledger(registry), config.name)
    if not rows:
        registry.versions(config.name)  # NotFoundError for a name that does not exist
    return rows


def _ask(address: str, name: str) -> str:
    from serving.client.address import parse_address
    from serving.client.http import Http
    from serving.client.tensorflow_serving_rest import is_available

    with Http(parse_address(address), _ASK_S) as http:
        return is_available(http, name)[1]
