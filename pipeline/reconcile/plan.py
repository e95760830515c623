"""From what the registry wants and what is there, to the steps that close the difference. Pure.

The steps for a version that is to go live: its bytes are published, the config files list it beside what is live,
servers load it and answer its golden requests, and only then it is made live and written down. Every step can be done
again: whoever is killed between two of them leaves a state from which the next plan goes on.
"""

from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field, replace

from pipeline.reconcile.serving import ServerReport
from pipeline.reconcile.steps import Ask, AwaitLive, Configure, Load, Publish, Record, Retire, Save, Step, Withdraw
from registry.client import RegisteredModel
from registry.entities import PRODUCTION, STAGING
from registry.intent import Intent, Seen
from registry.ledger import CHALLENGER, CHAMPION
from serving.model_config import CANARY, STABLE, Listed, Wanted, labels_listing, models_listing


@dataclass(frozen=True)
class Fact:
    """What is there, of one model."""

    model: RegisteredModel
    base_path: str  # where the model's version directories lie, as servers are told it
    published: AbstractSet[int] = frozenset()
    labels: Listed = field(default_factory=Listed)  # what labels.config says
    models: Listed = field(default_factory=Listed)  # what models.config says
    servers: tuple[ServerReport, ...] = ()
    seen: Seen | None = None
    previous: int | None = None  # the champion before the one that is wanted, or else live, by the ledger
    recorded: int | None = None  # the champion by the ledger
    refused: AbstractSet[int] = frozenset()  # were refused, and their alias has not moved since

    @property
    def live(self) -> int | None:
        """The version that the config files have live: labels.config is written first."""
        if STABLE in self.labels.labels:
            return self.labels.labels[STABLE]
        return next(iter(self.models.versions)) if len(self.models.versions) == 1 else None

    @property
    def listed(self) -> frozenset[int]:
        """Every version that a config file lists."""
        return self.labels.versions | self.labels.candidates | self.models.versions | self.models.candidates


@dataclass(frozen=True)
class Plan:
    """What is to be done for one model, in order, and what there is to say about it."""

    steps: tuple[Step, ...]
    notes: tuple[str, ...]
    final: Wanted  # what servers are to hold at the end


def plan(intent: Intent, fact: Fact, *, allow_retire: bool = False) -> Plan:
    """The steps from `fact` to `intent`; none if there is no difference."""
    return _Planner(intent, fact, allow_retire=allow_retire).plan()


class _Planner:
    """Collects the steps, keeping track of what the config files will say after each."""

    def __init__(self, intent: Intent, fact: Fact, *, allow_retire: bool) -> None:
        self._intent = intent
        self._fact = fact
        self._allow_retire = allow_retire
        self._steps: list[Step] = []
        self._notes = list(intent.notes)
        self._listing = (fact.labels, fact.models)
        self._canary = fact.labels.labels.get(CANARY)
        refused = None if fact.seen is None else fact.seen.refused
        self._seen = Seen(
            champion=fact.model.aliases.get(CHAMPION),
            challenger=fact.model.aliases.get(CHALLENGER),
            production=fact.model.stages.get(PRODUCTION),
            staging=fact.model.stages.get(STAGING),
            refused=refused if refused in fact.refused else None,
        )

    def plan(self) -> Plan:
        champion = self._champion()
        challenger = self._challenger(champion)
        final = Wanted(champion, self._previous(champion), challenger=challenger, canary=challenger is not None)
        if champion is None:
            self._retire_champion()
        elif champion != self._fact.live:
            self._promote(champion)
        else:
            self._confirm(champion)
        self._withdraw_champion(champion)
        if self._canary not in {None, champion, challenger}:
            self._steps.append(Retire(frozenset({self._canary} - {None})))
        if challenger is not None:
            self._load_challenger(challenger, final)
        elif self._intent.challenger in {None, champion}:
            self._withdraw_challenger()
        self._configure(final)
        if self._seen != self._fact.seen:
            self._steps.append(Save(self._seen))
        return Plan(tuple(self._steps), tuple(self._notes), final)

    def _champion(self) -> int | None:
        """The version that is to be live at the end."""
        live, wanted = self._fact.live, self._intent.champion
        if wanted is None and live is not None:
            if self._allow_retire and self._fact.seen is not None:
                return None
            self._notes.append(
                f"no version is {CHAMPION} any more: version {live} stays live, since reconcile.allow_retire is false"
            )
            return live
        if wanted is not None and wanted in self._fact.refused and wanted != live:
            stays = "nothing is live" if live is None else f"version {live} stays live"
            self._notes.append(f"version {wanted} was refused and its alias has not moved since: {stays}")
            return live
        return wanted

    def _challenger(self, champion: int | None) -> int | None:
        """The version that is to be the canary at the end."""
        wanted = self._intent.challenger
        if wanted is not None and wanted in self._fact.refused:
            self._notes.append(f"challenger version {wanted} was refused and its alias has not moved since")
            return None
        return None if wanted == champion else wanted

    def _previous(self, champion: int | None) -> int | None:
        """What stays loaded beside the champion, so that a rollback loads nothing: as the ledger will have it."""
        former = self._former(champion)
        told = former is not None and champion != self._fact.recorded
        previous = former if told else self._fact.previous
        there = previous in self._fact.published and champion is not None and previous != champion
        return previous if there else None

    def _former(self, champion: int | None) -> int | None:
        """What was live before `champion`, where this pass is to record that; None if it is not, or nothing was."""
        fact, live = self._fact, self._fact.live
        if live not in {None, champion}:
            return live
        confirmed = live == champion == self._intent.champion and self._intent.champion_moved
        before = fact.seen.champion if confirmed and fact.seen is not None else None
        return before if before != champion else None

    def _retire_champion(self) -> None:
        live = self._fact.live
        if live is None:
            return
        self._steps.append(Retire(frozenset({live}), live))
        gone = self._seen.production == live
        self._seen = replace(self._seen, champion=None, production=None if gone else self._seen.production)

    def _promote(self, champion: int) -> None:
        live = self._fact.live
        self._steps.append(Publish(champion, CHAMPION))
        self._configure(self._present(live, champion))
        self._steps += [Load(champion, CHAMPION), Ask(champion, CHAMPION)]
        # What was live stays loaded until all servers have changed over.
        self._configure(
            replace(self._present(live, champion), champion=champion, previous=live, candidate=None), live=True
        )
        self._steps.append(AwaitLive(champion))
        self._record(champion)

    def _confirm(self, champion: int) -> None:
        """The version is live already: perhaps a pass that was killed had come so far."""
        if champion not in self._fact.published:
            self._steps.append(Publish(champion, CHAMPION))
        self._configure(self._present(champion))
        if champion == self._intent.champion and self._intent.champion_moved:
            self._steps.append(AwaitLive(champion))
            self._record(champion)

    def _load_challenger(self, challenger: int, final: Wanted) -> None:
        fact = self._fact
        # Without a champion there is no label to tell by.
        known = final.champion is None and fact.seen is not None and fact.seen.challenger == challenger
        if challenger not in fact.published or not (self._canary == challenger or known):
            self._steps.append(Publish(challenger, CHALLENGER))
            self._configure(replace(final, canary=False))
            self._steps += [Load(challenger, CHALLENGER), Ask(challenger, CHALLENGER)]
            self._configure(final)
        elif not self._intent.challenger_moved:
            return
        self._steps.append(Record(challenger, CHALLENGER, None))
        self._seen = replace(self._seen, challenger=challenger, staging=challenger)

    def _withdraw_champion(self, champion: int | None) -> None:
        """What was taken away is not to go live by its other name; what is live may keep that."""
        named = {self._seen.champion, self._seen.production} - {None, champion}
        if self._intent.champion is None and self._intent.champion_moved and named:
            self._steps += [Withdraw(version, CHAMPION) for version in named if version is not None]
            seen = self._seen
            self._seen = replace(
                seen,
                champion=None if seen.champion in named else seen.champion,
                production=None if seen.production in named else seen.production,
            )

    def _withdraw_challenger(self) -> None:
        """Neither alias nor stage is to name a candidate by the next pass that this one does not want."""
        if self._intent.challenger_moved:
            named = {self._seen.challenger, self._seen.staging} - {None}
            self._steps += [Withdraw(version, CHALLENGER) for version in named if version is not None]
            self._seen = replace(self._seen, challenger=None, staging=None)

    def _present(self, live: int | None, candidate: int | None = None) -> Wanted:
        """What servers hold now, with `live` live and `candidate` loaded besides."""
        beside = self._fact.labels.versions - {live, candidate, self._canary}
        return Wanted(
            champion=live,
            previous=self._fact.previous if self._fact.previous in beside else max(beside, default=None),
            candidate=candidate,
            challenger=self._canary,
            canary=self._canary is not None,
        )

    def _configure(self, wanted: Wanted, *, live: bool = False) -> None:
        listing = labels_listing(self._fact.base_path, wanted), models_listing(self._fact.base_path, wanted)
        if listing != self._listing:
            self._steps.append(Configure(wanted, self._listing, live))
            self._listing = listing

    def _record(self, champion: int) -> None:
        self._steps.append(Record(champion, CHAMPION, self._former(champion)))
        seen = self._seen
        self._seen = Seen(
            champion=champion,
            challenger=None if seen.challenger == champion else seen.challenger,
            production=champion,
            staging=None if seen.staging == champion else seen.staging,
            refused=None,
        )


def without(fact: Fact, version: int) -> Configure | None:
    """The config files without a version that was refused, all else as they have it; None if they do not list it."""
    canary = fact.labels.labels.get(CANARY)
    canary = None if canary == version else canary
    beside = fact.labels.versions - {fact.live, version, canary}
    wanted = Wanted(
        champion=fact.live,
        previous=fact.previous if fact.previous in beside else max(beside, default=None),
        challenger=canary,
        canary=canary is not None,
    )
    if version == fact.live or version not in fact.listed:
        return None
    return Configure(wanted, (fact.labels, fact.models))


def differences(servers: tuple[ServerReport, ...], final: Wanted) -> tuple[str, ...]:
    """In which way servers do not hold what they are to hold; one text each."""
    found = []
    for server in servers:
        if server.left_out:
            continue
        if final.champion is not None and server.live != final.champion:
            state = server.state(final.champion)
            how = (
                "does not list it" if state is None else f"has it {state.state}{f': {state.error}' * bool(state.error)}"
            )
            answers = "nothing" if server.live is None else f"version {server.live}"
            found.append(f"{server.address} answers from {answers}; expected version {final.champion}, and it {how}")
        elif final.champion is None and server.live is not None:
            found.append(f"{server.address} answers from version {server.live}; expected nothing")
    return tuple(found)
