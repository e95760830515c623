"""Intent (the registry), fact (base path, config files, servers), and the difference, of every served model."""

import contextlib
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from pipeline.config import Config
from pipeline.onlooker import Onlooker
from pipeline.promotion import open_ledger
from pipeline.reconcile.followers import Place
from pipeline.reconcile.plan import Fact, Plan, differences, plan
from pipeline.reconcile.serving import ServerReport
from pipeline.reconcile.steps import AwaitLive, Record, Save
from pipeline.reconcile.world import World, read_fact, read_intent, read_listing
from pipeline.summary import table
from registry.client import ModelVersion, RegisteredModel, Registry
from registry.history import HistoryRow
from registry.history import history as ledger_rows
from registry.intent import Intent
from registry.register import GATE
from serving.model_config import LABELS_CONFIG, MODELS_CONFIG, STABLE, Listed
from serving.stores import open_store
from serving.traffic import TRAFFIC_FILE, Traffic, parse_traffic

_COLUMNS = ("version", "aliases", "stage", "gate", "published", "run")


@dataclass(frozen=True)
class ModelStatus:
    """Where one registered model stands."""

    intent: Intent
    fact: Fact
    plan: Plan  # what a pass of reconcile would do
    versions: Sequence[ModelVersion]
    traffic: Traffic | None  # how embedded servers split it; None: no split

    @property
    def name(self) -> str:
        return self.fact.model.name

    @property
    def live(self) -> dict[str, int | None]:
        """Config file -> the version that servers which read it have live."""
        models = self.fact.models.versions
        return {
            MODELS_CONFIG: next(iter(models)) if len(models) == 1 else None,
            LABELS_CONFIG: self.fact.labels.labels.get(STABLE),
        }

    @cached_property
    def differences(self) -> list[str]:
        """What is not as the registry wants it; empty if nothing."""
        champion = self.plan.final.champion
        found = []
        if champion is not None and champion not in self.fact.published:
            found.append(f"champion version {champion} is not published")
        found += [
            f"{file} has {f'version {version}' if version else 'no version'} live, the champion is {champion or 'none'}"
            for file, version in self.live.items()
            if version != champion
        ]
        return [*found, *differences(self.fact.servers, self.plan.final)]

    @cached_property
    def to_do(self) -> list[str]:
        """What a pass of reconcile would change; empty if nothing."""
        first = self.fact.seen is None  # a first pass writes down what has been so all along
        quiet = (Save, AwaitLive, Record) if first else (Save, AwaitLive)
        return [step.text for step in self.plan.steps if not isinstance(step, quiet)]

    def as_dict(self) -> dict[str, Any]:
        fact = self.fact
        return {
            "name": self.name,
            "champion": self.intent.champion,
            "challenger": self.intent.challenger,
            "previous": fact.previous,
            "notes": list(self.plan.notes),
            "versions": self._rows(),
            "published": sorted(fact.published),
            "configured": self.live,
            "loaded": {
                MODELS_CONFIG: sorted(fact.models.versions | fact.models.candidates),
                LABELS_CONFIG: sorted(fact.labels.versions | fact.labels.candidates),
            },
            "labels": dict(fact.labels.labels),
            "traffic": None if self.traffic is None else asdict(self.traffic),
            "servers": [_server(each) for each in fact.servers],
            "differences": self.differences,
            "to_do": self.to_do,
        }

    def lines(self) -> Iterator[str]:
        intent, fact = self.intent, self.fact
        candidate = "" if intent.challenger is None else f", challenger {intent.challenger}"
        goes_to = fact.previous or "none"
        yield f"{self.name}: champion {intent.champion or 'none'}{candidate}, a rollback goes to {goes_to}"
        yield table(self._rows(), _COLUMNS)
        yield from _listing_lines(fact.labels, fact.models)
        if self.traffic is not None:
            split = f"stable {self.traffic.stable:g} %, canary {self.traffic.canary:g} %"
            yield f"{TRAFFIC_FILE}: {split}, copied to the canary {self.traffic.shadow:g} %"
        yield from _server_lines(fact.servers)
        yield from (f"note: {note}" for note in self.plan.notes)
        yield from (f"difference: {each}" for each in self.differences)
        if self.to_do:
            yield f"`slipway reconcile --once` would: {'; '.join(self.to_do)}"
        if not self.to_do and not self.differences:
            yield "the base path is as the registry says"

    def _rows(self) -> list[dict[str, Any]]:
        return [
            {
                "version": each.version,
                "aliases": ",".join(each.aliases),
                "stage": each.stage,
                "gate": each.tags.get(GATE, ""),
                "published": "yes" if each.version in self.fact.published else "no",
                "run": each.run_id,
            }
            for each in self.versions
        ]


@dataclass(frozen=True)
class DeploymentStatus:
    """Where a deployment stands that has a name of its own: no alias says what it should be."""

    name: str
    model_uri: str
    labels: Listed
    models: Listed
    servers: Sequence[ServerReport]

    def as_dict(self) -> dict[str, Any]:
        servers = [_server(each) for each in self.servers]
        return {"name": self.name, "model_uri": self.model_uri, "labels": dict(self.labels.labels), "servers": servers}

    def lines(self) -> Iterator[str]:
        yield f"{self.name}: a deployment of {self.model_uri}"
        yield from _listing_lines(self.labels, self.models)
        yield from _server_lines(self.servers)


@dataclass(frozen=True)
class Status:
    """Where every model stands that was asked about."""

    models: Sequence[ModelStatus]
    deployments: Sequence[DeploymentStatus] = ()

    def as_dict(self) -> dict[str, Any]:
        return {
            "models": [each.as_dict() for each in self.models],
            "deployments": [each.as_dict() for each in self.deployments],
        }

    def text(self) -> str:
        if not self.models and not self.deployments:
            return "no model is served: none has the tag slipway.serving, and none that is named exists"
        parts = [*(each.lines() for each in self.models), *(each.lines() for each in self.deployments)]
        return "\n\n".join("\n".join(lines) for lines in parts)


def status(config: Config, name: str | None = None) -> Status:
    """Where `name` stands, or, without one, `config.name` and every model that is served."""
    registry = Registry()
    onlooker = Onlooker(config.reconcile.addresses, Place(open_store(config.base), Path(config.workdir) / "verify.log"))
    with contextlib.closing(onlooker):
        world = World(config, registry, open_ledger(registry), onlooker)
        deployments = [each for each in _deployments(world) if name in {None, each.name}]
        if name is None:
            models: Sequence[RegisteredModel] = registry.served_models({config.name, *config.reconcile.model_names})
        else:
            models = () if deployments else (registry.model(name),)
        traffic = _traffic(world)
        return Status([_status(world, model, traffic.get(model.name)) for model in models], deployments)


def history(config: Config) -> tuple[HistoryRow, ...]:
    """The ledger's rows of `config.name`, oldest first."""
    registry = Registry()
    rows = ledger_rows(open_ledger(registry), config.name)
    if not rows:
        registry.model(config.name)  # NotFoundError for a name that does not exist
    return rows


def _status(world: World, model: RegisteredModel, traffic: Traffic | None) -> ModelStatus:
    intent, seen = read_intent(world, model)
    fact = read_fact(world, model, intent, seen)
    made = plan(intent, fact, allow_retire=world.config.reconcile.allow_retire)
    return ModelStatus(intent, fact, made, world.registry.versions(model.name), traffic)


def _deployments(world: World) -> list[DeploymentStatus]:
    from pipeline.plugin.records import read_records

    return [
        DeploymentStatus(name, record.model_uri, *read_listing(world, name), world.serving.report(name))
        for name, record in sorted(read_records(world.store).items())
        if name != record.model
    ]


def _traffic(world: World) -> dict[str, Traffic]:
    data = world.store.update_file(TRAFFIC_FILE, lambda present: present)
    return {} if data is None else dict(parse_traffic(data, TRAFFIC_FILE))


def _listing_lines(labels: Listed, models: Listed) -> Iterator[str]:
    yield f"{LABELS_CONFIG}: {_listed(labels)}"
    yield f"{MODELS_CONFIG}: {_listed(models)}"


def _server_lines(servers: Sequence[ServerReport]) -> Iterator[str]:
    for server in servers:
        yield f"{server.address}: {_server_words(server)}"


def _listed(listing: Listed) -> str:
    versions = [
        " ".join([str(number), *(label for label, of in sorted(listing.labels.items()) if of == number)])
        for number in sorted(listing.versions)
    ]
    candidates = [f"{number} as a candidate" for number in sorted(listing.candidates)]
    return ", ".join([*versions, *candidates]) or "does not list it"


def _server(report: ServerReport) -> dict[str, Any]:
    return {
        "address": report.address,
        "answers": not report.left_out,
        "error": report.left_out or None,
        "live": report.live,
        "versions": {str(number): asdict(state) for number, state in sorted(report.versions.items())},
        "candidates": {str(number): asdict(state) for number, state in sorted(report.candidates.items())},
        "labels": dict(report.labels),
    }


def _server_words(report: ServerReport) -> str:
    if report.left_out:
        return report.left_out
    if not report.versions and not report.candidates:
        return "does not know it"
    states = {**report.versions, **report.candidates}
    words = [
        " ".join(
            [
                str(number),
                state.state,
                *(label for label, of in sorted(report.labels.items()) if of == number),
                *([f"({state.error})"] if state.error else []),
            ]
        )
        for number, state in sorted(states.items())
    ]
    return ", ".join(words)
