"""Back to a former champion: its bytes and its answers are verified, the label moves, then the registry follows."""

import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field

from pipeline.config import Config
from pipeline.publication import publish, registered_digest, verify_source
from pipeline.reconcile.apply import change_over_key, write_configs
from pipeline.reconcile.plan import Fact, without
from pipeline.reconcile.serving import MovedOnError, RefusedError, Waiting
from pipeline.reconcile.settle import KEY, pass_alone
from pipeline.reconcile.steps import Configure
from pipeline.reconcile.world import World, open_world, read_fact, read_intent
from pipeline.signing.trust import verified_signature
from registry.client import ModelVersion
from registry.intent import load_seen
from registry.lease import actor, lease, renewed_lease
from registry.ledger import CHAMPION, LedgerEntry
from registry.promote import Change, move_champion, rollback_target
from serving.model_config import CANARY, Wanted
from slipway.errors import ConflictError, UnavailableError

_CHANGE_OVER_S = 240.0  # the label, and then other moves, may be waited for
_CHANGE_OVER_WAIT_S = 60.0
_LABEL_S = 60.0
_PASS_WAIT_S = 3.0  # a pass that loads nothing takes less
_TRIES = 3


@dataclass(frozen=True)
class Rollback:
    """What a rollback came to. parts_s: what took how long: import, hash, load, golden, label, registry."""

    entry: LedgerEntry
    parts_s: dict[str, float] = field(default_factory=dict)
    notes: tuple[str, ...] = ()

    def text(self) -> str:
        """What is live now, and how long each part took."""
        entry = self.entry
        before = "none" if entry.from_version is None else f"version {entry.from_version}"
        lines = [f"{entry.model}: {entry.alias} is version {entry.to_version}, was {before}"]
        if self.parts_s:
            lines.append(", ".join(f"{part} {took_s:.2f} s" for part, took_s in self.parts_s.items()))
        return "\n".join([*lines, *(f"{entry.model}: {each}" for each in self.notes)])


def roll_back(config: Config, to: int | None, reason: str, began: float | None = None) -> Rollback:
    """Make a former champion live again: the one before this one, or version `to`.

    began: when the imports for it began, by time.monotonic(); now if not given.
    IntegrityError for damaged bytes, RefusedError for other golden answers: what is live is then as it was.
    """
    parts_s = {"import": time.monotonic() - began} if began is not None else {}
    with ExitStack() as stack:
        with _timed(parts_s, "import"):
            world = stack.enter_context(open_world(config))
        entry = _unfinished(world, config.name, to)
        for attempt in range(_TRIES):
            if entry is not None:
                break
            try:
                entry = _rolled_back(world, to, reason, parts_s)
            except MovedOnError:
                if attempt == _TRIES - 1:
                    raise
        assert entry is not None
        with _timed(parts_s, "registry"):
            notes = _rest(world)
        return Rollback(entry, parts_s, notes)


def _rest(world: World) -> tuple[str, ...]:
    """What is left to do is any pass's: versions to retire, texts on the versions. What that has to say."""
    try:
        found = pass_alone(world, (world.config.name,), wait_s=_PASS_WAIT_S).of(world.config.name)
    except ConflictError:
        return ("somebody else's pass is under way, and does the rest",)
    refused = (f"version {version} was refused: {reason}" for version, reason in found.refused.items())
    return (*found.notes, *refused, *found.left, *([found.failed] if found.failed else []))


def _unfinished(world: World, name: str, to: int | None) -> LedgerEntry | None:
    """The rollback that was killed after its entry, if this one asks for the same."""
    champion = world.registry.aliases(name).get(CHAMPION)
    last, seen = world.ledger.last(name, CHAMPION), load_seen(world.ledger, name)
    if last is None or last.action != "rollback" or last.to_version != champion or to not in {None, champion}:
        return None
    return last if seen is not None and seen.champion != champion else None


def _rolled_back(world: World, to: int | None, reason: str, parts_s: dict[str, float]) -> LedgerEntry:
    registry, ledger, name = world.registry, world.ledger, world.config.name
    champion = registry.require_alias(name, CHAMPION).version
    target = registry.version(name, rollback_target(registry, ledger, name, to))
    with _timed(parts_s, "hash"):
        _verify_bytes(world, target)
    fact = _read(world)
    with ExitStack() as stack:
        try:
            if _is_lacked(fact, target.version):
                with _timed(parts_s, "load"):
                    # A pass would take from the config files what the registry does not want yet.
                    settings = world.config.reconcile
                    stack.enter_context(renewed_lease(ledger, KEY, settings.lease_s, settings.load_timeout_s))
                    fact = _loaded(world, _read(world), target)
            with _timed(parts_s, "golden"):
                world.serving.verify(target)
        except RefusedError:
            back = without(_read(world), target.version)
            if back is not None and fact.previous != target.version:
                write_configs(world, name, back)
            raise
        stack.enter_context(lease(ledger, change_over_key(name), _CHANGE_OVER_S, _CHANGE_OVER_WAIT_S))
        if registry.aliases(name).get(CHAMPION) != champion:
            raise MovedOnError(f"{name}: the champion is version {champion} no more. Run the rollback again.")
        with _timed(parts_s, "label"):
            _change_over(world, fact, target)
        change = Change(name, target.version, "rollback", champion, actor(), reason=reason)
        with _timed(parts_s, "registry"), _said_that_it_answers(target):
            return move_champion(registry, ledger, change)


def _verify_bytes(world: World, version: ModelVersion) -> None:
    """Both copies at once: the published one is what serves, and the registry's what a next publication would take.

    Its signature comes first, where one is required; one that was made anew is published.
    """
    signature = verified_signature(world.config, version)
    store, digest = world.store, registered_digest(version)
    is_there = version.version in store.versions(version.name)
    if not is_there or signature not in {None, store.signature(version.name, version.version)}:
        publish(world.config, world.registry, version)
        return
    with ThreadPoolExecutor(1, "hash") as beside:
        source = beside.submit(verify_source, world.registry, version)
        store.verify(version.name, version.version, digest)
        source.result()


def _read(world: World) -> Fact:
    model = world.registry.model(world.config.name)
    intent, seen = read_intent(world, model)
    return read_fact(world, model, intent, seen)


def _is_lacked(fact: Fact, version: int) -> bool:
    """Whether a server of the model does not have the version loaded."""
    states = (server.state(version) for server in fact.servers if server.lists_it)
    return not all(state is not None and state.is_available for state in states)


def _loaded(world: World, fact: Fact, target: ModelVersion) -> Fact:
    """List the version beside what is live, and wait until every server has it."""
    wanted = _beside(fact, fact.live, target.version)
    write_configs(world, target.name, Configure(wanted, (fact.labels, fact.models)))
    waiting = Waiting(world.config.reconcile.load_timeout_s, lambda: None)
    world.serving.await_loaded(target, waiting)
    return _read(world)


def _change_over(world: World, fact: Fact, target: ModelVersion) -> None:
    if fact.live != target.version:
        wanted = _beside(fact, target.version, None)
        write_configs(world, target.name, Configure(wanted, (fact.labels, fact.models)))
    world.serving.await_live(target, Waiting(_LABEL_S, lambda: None))


def _beside(fact: Fact, live: int | None, candidate: int | None) -> Wanted:
    """What servers are to hold while `live` is live: what was before it stays until all have changed over."""
    canary = fact.labels.labels.get(CANARY)
    canary = None if canary == live else canary
    beside = fact.labels.versions - {live, candidate, canary}
    previous = fact.live if fact.live in beside else max(beside, default=None)
    return Wanted(live, previous, candidate, canary, canary is not None)


@contextmanager
def _said_that_it_answers(target: ModelVersion) -> Iterator[None]:
    """An error after the label has moved says so: a pass would move it back."""
    try:
        yield
    except (ConflictError, UnavailableError) as error:
        answers = f"Servers answer from version {target.version} already: run the rollback again to have that stay."
        raise type(error)(f"{error} {answers}") from error


@contextmanager
def _timed(parts_s: dict[str, float], part: str) -> Iterator[None]:
    began = time.monotonic()
    try:
        yield
    finally:
        parts_s[part] = parts_s.get(part, 0.0) + time.monotonic() - began
