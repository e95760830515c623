"""Every plan ends where the registry wants it, wherever a pass is killed, and never takes away what is live."""

from dataclasses import dataclass, field, replace

from hypothesis import given
from hypothesis import strategies as st

from pipeline.reconcile.plan import Fact, plan, without
from pipeline.reconcile.serving import ServerReport
from pipeline.reconcile.steps import Ask, Configure, Load, Publish, Record, Retire, Save, Withdraw
from registry.client import RegisteredModel
from registry.entities import STAGE_OF
from registry.intent import Seen, decide
from serving.model_config import Listed, Wanted, labels_listing, models_listing

BASE = "/models/digits"
versions = st.integers(1, 4)
maybe = st.none() | versions


@dataclass
class Place:
    """A registry, a base path and the last pass's memory: enough to carry a plan's steps out."""

    aliases: dict
    stages: dict
    published: set
    labels: Listed
    models: Listed
    seen: Seen | None
    champions: list = field(default_factory=list)
    answered: set = field(default_factory=set)
    lives: list = field(default_factory=list)

    @property
    def model(self):
        return RegisteredModel("digits", dict(self.aliases), dict(self.stages), {})

    def intent(self):
        return decide(self.model, self.seen)

    def fact(self):
        stack, live = list(self.champions), self.labels.labels.get("stable", max(self.models.versions, default=None))
        champion = live if self.intent().champion is None else self.intent().champion
        if champion is not None and stack[-1:] != [champion]:
            stack = [*stack, champion]
        return Fact(
            model=self.model,
            base_path=BASE,
            published=frozenset(self.published),
            labels=self.labels,
            models=self.models,
            seen=self.seen,
            previous=stack[-2] if len(stack) > 1 else None,
            recorded=self.champions[-1] if self.champions else None,
        )

    def plan(self, **options):
        return plan(self.intent(), self.fact(), **options)

    def do(self, step):  # noqa: C901, PLR0912 - a case a step
        match step:
            case Publish(version):
                self.published.add(version)
            case Configure(wanted, before):
                assert before == (self.labels, self.models)
                self.labels, self.models = labels_listing(BASE, wanted), models_listing(BASE, wanted)
            case Load(version):
                assert version in self.fact().listed
            case Ask(version):
                self.answered.add(version)
            case Record(version, "champion", former):
                self.aliases["champion"] = self.stages["Production"] = version
                for where, role in ((self.aliases, "challenger"), (self.stages, "Staging")):
                    if where.get(role) == version:
                        del where[role]
                if self.champions[-1:] != [version]:
                    if former is not None and self.champions[-1:] != [former]:
                        self.champions.append(former)
                    self.champions.append(version)
            case Record(version):
                self.aliases["challenger"] = self.stages["Staging"] = version
            case Retire(_, champion) if champion is not None:
                self.aliases.pop("champion", None)
                if self.stages.get("Production") == champion:
                    del self.stages["Production"]
            case Withdraw(version, role):
                for where, key in ((self.aliases, role), (self.stages, STAGE_OF[role])):
                    if where.get(key) == version:
                        del where[key]
            case Save(seen):
                self.seen = seen
        self.lives.append(self.fact().live)

    def finish(self, **options):
        for step in self.plan(**options).steps:
            self.do(step)


# A pass leaves alias and stage on the same version, or takes both away.
agreed = st.builds(
    lambda champion, production, challenger: Seen(champion, challenger, champion or production, challenger, None),
    maybe,
    maybe,
    maybe,
)


@st.composite
def places(draw):
    """Anything that passes, people and kills may have left: configs that were made from some wanted state."""
    live = draw(maybe)
    wanted = Wanted(live, draw(maybe), draw(maybe), draw(maybe), canary=draw(st.booleans()))
    other = draw(st.sampled_from([wanted, replace(wanted, champion=live)]))
    aliases = {"champion": draw(maybe), "challenger": draw(maybe)}
    stages = {"Production": draw(maybe), "Staging": draw(maybe)}
    return Place(
        aliases={key: value for key, value in aliases.items() if value is not None},
        stages={key: value for key, value in stages.items() if value is not None},
        published=draw(st.sets(versions)) | ({live} - {None}),
        labels=labels_listing(BASE, wanted),
        models=models_listing(BASE, other),
        seen=draw(st.none() | agreed),
        champions=draw(st.lists(versions, max_size=4)),
    )


@given(place=places())
def test_a_plan_ends_with_the_wanted_version_live(place):
    wanted, live = place.intent().champion, place.fact().live
    place.finish()
    expected = live if wanted is None else wanted
    assert place.fact().live == expected
    assert place.models.versions == frozenset({expected} - {None})


@given(place=places())
def test_the_plan_after_a_plan_is_empty(place):
    place.finish()
    assert place.plan().steps == ()


@given(place=places())
def test_no_step_takes_away_what_is_live_before_another_has_answered(place):
    """The one that was live stays loaded in the very step that makes another one live."""
    live, wanted = place.fact().live, place.intent().champion
    changed = False
    for step in place.plan().steps:
        if isinstance(step, Configure) and live is not None:
            assert step.wanted.champion in {live, wanted}
            if step.wanted.champion != live and not changed:
                changed = True
                assert wanted in place.answered
                assert live in labels_listing(BASE, step.wanted).versions
        place.do(step)


@given(place=places())
def test_what_goes_live_or_becomes_the_canary_is_published_and_has_answered(place):
    known = place.fact().listed
    for step in place.plan().steps:
        if isinstance(step, Configure):
            labels = labels_listing(BASE, step.wanted)
            new = {number for number in labels.labels.values() if number not in known}
            assert new <= place.answered
            assert (labels.versions | labels.candidates) - known <= place.published
        place.do(step)


@given(data=st.data(), place=places())
def test_killed_between_any_two_steps_the_next_pass_ends_in_the_same_place(data, place):
    import copy

    undisturbed, moved = copy.deepcopy(place), place.intent().champion_moved
    undisturbed.finish()
    steps = place.plan().steps
    for step in steps[: data.draw(st.integers(0, len(steps)))]:
        place.do(step)
    place.finish()
    assert place.fact().live == undisturbed.fact().live
    assert place.plan().steps == ()
    assert place.models == undisturbed.models or place.intent().challenger != undisturbed.intent().challenger
    # An alias that was deleted before stays so if the pass that put its version back into service was killed.
    assert not moved or place.aliases.get("champion") == undisturbed.aliases.get("champion")


@given(place=places())
def test_killed_between_the_two_files_the_next_pass_writes_the_other(place):
    for step in place.plan().steps:
        if isinstance(step, Configure):
            place.labels = labels_listing(BASE, step.wanted)
            place.finish()
            break
        place.do(step)
    assert place.plan().steps == ()


@given(place=places(), version=versions)
def test_a_refused_version_leaves_the_config_files_and_what_is_live_stays(place, version):
    live = place.fact().live
    back = without(place.fact(), version)
    if back is not None:
        place.do(back)
        assert version not in place.fact().listed
    assert place.fact().live == live


@given(place=places())
def test_a_model_without_champion_is_retired_only_where_that_is_allowed(place):
    place.aliases.pop("champion", None)
    place.stages.pop("Production", None)
    live = place.fact().live
    if place.seen is None:
        place.seen = Seen(live, None, live, None, None)
    place.finish()
    assert place.fact().live == live
    place.finish(allow_retire=True)
    assert place.fact().live is None
    assert place.labels.versions == frozenset()
    assert place.plan(allow_retire=True).steps == ()


def test_a_server_that_was_never_asked_counts_for_nothing():
    assert ServerReport("grpc://a:1").live is None
