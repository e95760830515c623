"""Everything that a pass reads and changes, and how a model's facts are read from it."""

import contextlib
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from pipeline.config import Config
from pipeline.progress import report
from pipeline.reconcile.followers import Followers, Place
from pipeline.reconcile.plan import Fact
from pipeline.reconcile.serving import Serving
from registry.client import RegisteredModel, Registry
from registry.deployment import DEPLOY
from registry.intent import Intent, Seen, intent_of, load_seen
from registry.ledger import Ledger
from serving.model_config import LABELS_CONFIG, MODELS_CONFIG, Listed, Wanted, listed
from serving.stores import Store, open_store


def _nothing() -> None:
    pass


def _as_it_is(_name: str, _final: Wanted, _check: Callable[[], None]) -> tuple[str, ...]:
    return ()


@dataclass(frozen=True)
class World:
    """A registry, its ledger, and what serves the models of one base path.

    check: asked before anything is changed; raises ConflictError once somebody else does the passes.
    converge: for what does not follow the config files by itself: brings a model to what they say at the end of a pass,
    with a look at `check` before each change, and says what that changed.
    """

    config: Config
    registry: Registry
    ledger: Ledger
    serving: Serving
    clock: Callable[[], float] = time.time
    check: Callable[[], None] = _nothing
    say: Callable[[str], None] = report
    converge: Callable[[str, Wanted, Callable[[], None]], tuple[str, ...]] = _as_it_is

    @property
    def store(self) -> Store:
        return open_store(self.config.base)

    def model_path(self, name: str) -> str:
        """Where a model's version directories lie, as servers are told it."""
        return self.store.model_path(name)


@contextlib.contextmanager
def open_world(config: Config, picture: Path | None = None) -> Iterator[World]:
    """The world that the configuration names, with the servers that follow its base path.

    picture: an image that a version which goes live is asked about besides its golden requests.
    """
    from pipeline.promotion import open_ledger

    registry = Registry()
    place = Place(open_store(config.base), Path(config.workdir).absolute() / "verify.log", picture)
    followers = Followers(config.reconcile.addresses, place, report)
    with contextlib.closing(followers):
        yield World(config, registry, open_ledger(registry), followers)


def read_intent(world: World, model: RegisteredModel) -> tuple[Intent, Seen | None]:
    """What the registry wants of a model, and what the last finished pass left."""
    seen = load_seen(world.ledger, model.name)
    return intent_of(world.ledger, model, seen), seen


def read_listing(world: World, name: str) -> tuple[Listed, Listed]:
    """What `labels.config` and `models.config` say of a model."""
    labels, models = (
        listed(world.store.update_file(file, lambda text: text), file, name) for file in (LABELS_CONFIG, MODELS_CONFIG)
    )
    return labels, models


def read_fact(world: World, model: RegisteredModel, intent: Intent, seen: Seen | None) -> Fact:
    """What is there, of one model; UnavailableError if a server is there and does not answer."""
    name, store = model.name, world.store
    labels, models = read_listing(world, name)
    champions = world.ledger.champions(name)
    fact = Fact(
        model=model,
        base_path=world.model_path(name),
        published=frozenset(store.versions(name)),
        labels=labels,
        models=models,
        servers=world.serving.report(name),
        seen=seen,
        recorded=champions[-1] if champions else None,
    )
    champion = fact.live if intent.champion is None else intent.champion
    previous = None if champion is None else world.ledger.previous_champion(name, champion)
    return replace(fact, previous=previous, refused=_refused_before(world, intent, fact))


def _refused_before(world: World, intent: Intent, fact: Fact) -> frozenset[int]:
    """Those that were refused and whose alias has not moved since: asked only where what is wanted is not served."""
    waiting = set()
    if not intent.champion_moved and intent.champion is not None and intent.champion != fact.live:
        waiting.add(intent.champion)
    if not intent.challenger_moved and intent.challenger not in {None, *fact.labels.labels.values()}:
        assert intent.challenger is not None
        waiting.add(intent.challenger)
    refused = None if fact.seen is None else fact.seen.refused
    return frozenset(
        version
        for version in waiting
        if version == refused or world.registry.version(fact.model.name, version).tags.get(DEPLOY) == "refused"
    )
