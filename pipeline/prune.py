"""Versions that nothing wants any more go from the base path, and so does what unfinished publications left there.

A pass of reconcile only retires a version: config files list it no more, and its bytes stay. Here alone bytes are
removed, under the lease of a pass, each version after a new look at what is wanted. Whoever is killed between two of
them, or within one, leaves what the next call goes on from; a version that was removed is published again from the
registry once something wants it.
"""

import math
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import Any

from pipeline.config import Config
from pipeline.reconcile.plan import Fact, plan
from pipeline.reconcile.settle import KEY
from pipeline.reconcile.world import World, open_world, read_fact, read_intent
from registry.client import RegisteredModel
from registry.entities import PRODUCTION, STAGING
from registry.intent import Intent
from registry.lease import renewed_lease
from registry.ledger import CHALLENGER, CHAMPION
from serving.model_config import LABELS_CONFIG, MODELS_CONFIG, Wanted, all_held
from serving.servable.layout import EXTRA, MANIFEST
from serving.servable.manifest import read_manifest
from serving.stores import Leftover, Store
from slipway.errors import ConflictError, InputError, IntegrityError

KEEP = 1
GIVEN_UP_S = 86_400.0
_GONE = "END"  # the state of a version that a server does not hold


@dataclass(frozen=True)
class Rules:
    """keep: how many versions that nothing wants stay, the highest ones.

    given_up_s: after so long without a write, an unfinished publication is one that nobody is at.
    """

    keep: int = KEEP
    given_up_s: float = GIVEN_UP_S

    def __post_init__(self) -> None:
        for flag, value in (("--keep", self.keep), ("--given-up-s", self.given_up_s)):
            if not 0 <= value < math.inf:
                raise InputError(f"{flag} is {value:g}; expected 0 or more. Change it.")


@dataclass(frozen=True)
class Removed:
    """Something that was removed, or would be. version: None where it is not known of which it was."""

    version: int | None
    what: str
    size_bytes: int


@dataclass
class ModelPruning:
    """One model's part. kept: version -> why."""

    name: str
    kept: Mapping[int, str] = field(default_factory=dict)
    removed: list[Removed] = field(default_factory=list)
    left: list[str] = field(default_factory=list)  # what might have been removed, and why it was not

    @property
    def freed_bytes(self) -> int:
        """Of all that was removed."""
        return sum(each.size_bytes for each in self.removed)


@dataclass(frozen=True)
class Pruning:
    """What became of each model's versions."""

    models: tuple[ModelPruning, ...]
    dry_run: bool

    def text(self) -> str:
        """A line for each thing that was removed, or would be, then what stays, and why."""
        return "\n".join(self._lines()) or "no model is served: none has the tag slipway.serving, and none is named"

    def as_dict(self) -> Mapping[str, Any]:
        """The pruning as plain JSON values."""
        return {
            "dry_run": self.dry_run,
            "freed_bytes": sum(each.freed_bytes for each in self.models),
            "models": [
                asdict(each) | {"kept": {str(version): why for version, why in each.kept.items()}}
                for each in self.models
            ],
        }

    def _lines(self) -> Iterator[str]:
        if self.dry_run and self.models:
            yield "a plan; nothing is changed"
        did = "would remove" if self.dry_run else "removed"
        for model in self.models:
            yield from (f"{model.name}: {did} {each.what}, {_megabytes(each.size_bytes)}" for each in model.removed)
            yield from (f"{model.name}: left {text}" for text in model.left)
            kept = ", ".join(f"{version} ({why})" for version, why in sorted(model.kept.items()))
            yield f"{model.name}: {'would free' if self.dry_run else 'freed'} {_megabytes(model.freed_bytes)}; " + (
                f"kept {kept}" if kept else "no version is published"
            )


def prune(config: Config, names: Collection[str] | None, rules: Rules, *, dry_run: bool = False) -> Pruning:
    """Remove what nothing wants of the models `names`, or of all that are served; with `dry_run`, only say what.

    ConflictError if somebody else's pass does not end; UnavailableError if a server, the registry, the ledger or the
    base path does not answer: then what is wanted is not known.
    """
    with open_world(config) as world:
        if dry_run:
            return _pruned(world, names, rules, dry_run=True)
        lease_s = config.reconcile.lease_s
        with renewed_lease(world.ledger, KEY, lease_s, wait_s=lease_s) as held:
            return _pruned(replace(world, check=held.check), names, rules, dry_run=False)


def _pruned(world: World, names: Collection[str] | None, rules: Rules, *, dry_run: bool) -> Pruning:
    if names is None:
        models = world.registry.served_models({world.config.name, *world.config.reconcile.model_names})
    else:
        models = tuple(world.registry.model(name) for name in names)
    return Pruning(tuple(_Model(world, each, rules, dry_run=dry_run).pruned() for each in models), dry_run)


class _Model:
    """Prunes one model's versions, and writes down what it does."""

    def __init__(self, world: World, model: RegisteredModel, rules: Rules, *, dry_run: bool) -> None:
        self._world = world
        self._name = model.name
        self._rules = rules
        self._dry_run = dry_run
        self._store: Store = world.store
        self._report = ModelPruning(model.name)

    def pruned(self) -> ModelPruning:
        published, wanted = self._look()
        spare = sorted(published - wanted.keys(), reverse=True)
        others = dict.fromkeys(spare[: self._rules.keep], f"--keep {self._rules.keep}")
        self._report.kept = {version: why for version, why in (wanted | others).items() if version in published}
        for version in reversed(spare[self._rules.keep :]):
            self._remove_version(version)
        for leftover in self._store.leftovers(self._name):
            self._remove_leftover(leftover, published, wanted.keys())
        return self._report

    def _look(self) -> tuple[frozenset[int], dict[int, str]]:
        """The published versions, and why each that is to stay is to."""
        model = self._world.registry.model(self._name)
        intent, seen = read_intent(self._world, model)
        fact = read_fact(self._world, model, intent, seen)
        final = plan(intent, fact, allow_retire=self._world.config.reconcile.allow_retire).final
        before = self._world.ledger.previous_champion(self._name, fact.live)
        return frozenset(fact.published), self._held(fact) | wanted_versions(intent, fact, final, before)

    def _held(self, fact: Fact) -> dict[int, str]:
        """What a server with one of the config files loads, whoever wrote it, and whatever policy is in it."""
        held: dict[int, str] = {}
        for file in (LABELS_CONFIG, MODELS_CONFIG):
            content = self._store.update_file(file, lambda text: text)
            held |= dict.fromkeys(all_held(content, file, self._name, fact.published), f"{file} lists it")
        return held

    def _remove_version(self, version: int) -> None:
        wanted = self._look()[1]  # an alias may have moved since the last look
        if version in wanted:
            self._report.left.append(f"version {version}: it is wanted now ({wanted[version]})")
            return
        try:
            with self._store.directory(self._name, version, lambda _path: False) as directory:
                size_bytes = read_manifest(directory / EXTRA / MANIFEST).size_bytes
        except IntegrityError as error:
            self._report.left.append(f"version {version}: it is none that Slipway published ({error})")
            return
        removed = Removed(version, f"version {version}", size_bytes)
        self._do(removed, lambda: self._store.remove(self._name, version))

    def _remove_leftover(self, leftover: Leftover, published: Collection[int], wanted: Collection[int]) -> None:
        what = "what an unfinished publication left"
        if leftover.version is not None:
            what += f" of version {leftover.version}"
        if leftover.version in wanted and leftover.version not in published:
            self._report.left.append(f"{what}: the version is wanted, and a pass of reconcile finishes it")
        elif leftover.idle_s < self._rules.given_up_s:
            since, longest = leftover.idle_s, self._rules.given_up_s
            self._report.left.append(
                f"{what}: somebody may be at it, it was written to {since:.0f} s ago (--given-up-s {longest:.0f})"
            )
        else:
            try:
                self._do(Removed(leftover.version, what, leftover.size_bytes), leftover.remove)
            except ConflictError as error:
                self._world.check()  # it may be our lease that has gone
                self._report.left.append(f"{what}: {error}")

    def _do(self, removed: Removed, removal: Callable[[], None]) -> None:
        if not self._dry_run:
            self._world.check()
            removal()
        self._report.removed.append(removed)


def wanted_versions(intent: Intent, fact: Fact, final: Wanted, before: int | None) -> dict[int, str]:
    """Why each version is to stay that the registry, a pass, a rollback or a server wants. Pure.

    final: what a pass comes to. before: the champion before the one that is live.
    """
    aliases, stages = fact.model.aliases, fact.model.stages
    reasons: dict[str, set[int | None]] = {
        "champion": {intent.champion, final.champion, fact.live, aliases.get(CHAMPION), stages.get(PRODUCTION)},
        "champion before": {final.previous, fact.previous, before},
        "challenger": {intent.challenger, final.challenger, aliases.get(CHALLENGER), stages.get(STAGING)},
        "a config file lists it": set(fact.listed),
        "a server has it": {
            number
            for server in fact.servers
            for number, each in (*server.versions.items(), *server.candidates.items())
            if each.state != _GONE
        },
    }
    return {number: why for why, numbers in reversed(reasons.items()) for number in numbers if number is not None}


def _megabytes(size_bytes: int) -> str:
    return f"{size_bytes / 1e6:.1f} MB"
