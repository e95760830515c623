"""A deployment under a name of its own: one version, served under that name until it is updated. No alias moves it."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from pipeline.package import SERVABLE
from pipeline.publication import registered_digest, verify_source
from pipeline.reconcile.apply import write_configs
from pipeline.reconcile.plan import Fact, plan, without
from pipeline.reconcile.serving import RefusedError, Waiting
from pipeline.reconcile.steps import Ask, AwaitLive, Configure, Load, Publish, Record, Step
from pipeline.reconcile.world import World, read_fact, read_listing
from registry.client import ModelVersion, RegisteredModel
from registry.intent import Intent
from registry.lease import actor, renewed_lease
from registry.ledger import CHAMPION, Action, NewEntry
from serving.model_config import Wanted
from serving.stores import Bundle
from slipway.errors import InputError, IntegrityError, NotFoundError

ORIGIN = "deployments"
_NEW_MODEL_S = 10.0  # how long a server that follows the base path may take to list a model that is new to it


@dataclass(frozen=True)
class Standalone:
    """The deployment `name`, in the world that serves it."""

    world: World
    name: str

    def go_live(self, version: ModelVersion, reason: str) -> None:
        """Publish, load, ask and make live, as reconcile does; RefusedError leaves what was live."""
        with self._held():
            fact = self._fact(version.version)
            for step in plan(_intent(self.name, version.version), fact).steps:
                try:
                    self._do(step, fact, version, reason)
                except (RefusedError, IntegrityError) as refused:
                    self._take_back(version.version)
                    raise RefusedError(f"{self.name}: version {version.version} is refused: {refused}") from refused

    def retire(self, reason: str) -> None:
        """Take it from the config files; the bytes stay."""
        with self._held():
            take_away(self.world, self.name)
            last = self.world.ledger.last(self.name, CHAMPION)
            if last is not None and last.to_version is not None:
                self._record(last.to_version, None, reason)

    @contextmanager
    def _held(self) -> Iterator[None]:
        with renewed_lease(self.world.ledger, f"move {self.name}", self.world.config.reconcile.lease_s):
            yield

    def _fact(self, version: int) -> Fact:
        model = RegisteredModel(self.name, {}, {}, {})
        return read_fact(self.world, model, _intent(self.name, version), None)

    def _do(self, step: Step, fact: Fact, version: ModelVersion, reason: str) -> None:
        served = replace(version, name=self.name)
        waiting = Waiting(
            self.world.config.reconcile.load_timeout_s, lambda: None, _NEW_MODEL_S if fact.live is None else 0.0
        )
        match step:
            case Publish():
                self._publish(version)
            case Configure():
                write_configs(self.world, self.name, step)
            case Load():
                self.world.serving.await_loaded(served, waiting)
            case Ask():
                self.world.serving.verify(served)
            case AwaitLive():
                self.world.serving.await_live(served, waiting)
            case Record():
                last = self.world.ledger.last(self.name, CHAMPION)
                if last is None or last.to_version != version.version:
                    self._record(None if last is None else last.to_version, version.version, reason)

    def _publish(self, version: ModelVersion) -> None:
        store, registry = self.world.store, self.world.registry
        if self.world.config.gate.require_signature:
            raise InputError(
                f"deployment {self.name!r} of {version.name} version {version.version}: gate.require_signature is "
                f"true, and a signature holds for the name {version.name} alone. Deploy it under that name."
            )

        def fetch(into: Path) -> Path:
            return registry.download(version, SERVABLE, into)

        if version.version in store.versions(self.name):
            verify_source(registry, version)
        store.publish(self.name, version.version, Bundle(registered_digest(version), fetch))

    def _take_back(self, version: int) -> None:
        back = without(self._fact(version), version)
        if back is not None:
            write_configs(self.world, self.name, back)

    def _record(self, before: int | None, after: int | None, reason: str) -> None:
        action: Action = "retire" if after is None else "promote"
        self.world.ledger.append(NewEntry(self.name, action, CHAMPION, before, after, actor(), ORIGIN, reason))


def take_away(world: World, name: str) -> None:
    """Have the config files list nothing of a model, and wait until no server answers for it."""
    labels, models = read_listing(world, name)
    write_configs(world, name, Configure(Wanted(), (labels, models)))
    waiting = Waiting(world.config.reconcile.load_timeout_s, lambda: None)
    while any(each.live is not None for each in world.serving.report(name)):
        if not waiting.pause():
            raise InputError(
                f"{name}: the config files list it no more, and a server still answers for it after "
                f"{waiting.timeout_s:g} s. Does it read {world.config.base}? Name the servers that do: -C servers=..."
            )


def check_own_name(world: World, name: str, version: ModelVersion) -> None:
    """InputError if a deployment of another model may not be called so."""
    try:
        world.registry.model(name)
    except NotFoundError:
        return
    raise InputError(
        f"deployment {name!r} of {version.name} version {version.version}: a registered model has that name, and its "
        "alias says what is served under it. Choose another --name."
    )


def _intent(name: str, version: int) -> Intent:
    return Intent(name, version, None, champion_moved=True, challenger_moved=False, signal="alias", notes=())
