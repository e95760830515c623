"""The steps of a retraining under its lease: decide, train, evaluate, register, gate, promote. Each may be killed."""

import contextlib
import math
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from pipeline import lifecycle
from pipeline.budget import Budget, OutOfTime
from pipeline.config import Config
from pipeline.progress import report
from pipeline.promotion import open_ledger
from pipeline.retrain.decision import Decision, decide
from pipeline.retrain.outcome import Ending, Outcome
from pipeline.retrain.records import Clock, champion_of, facts, record, record_failure
from pipeline.retrain.regression import check_sets
from pipeline.retrain.start import fetch_weights, with_weights
from pipeline.retrain.unfinished import ATTEMPTS, DATASET, OPEN, PHASE, TO, WHY, Begun, begun, children
from pipeline.run_inputs import CONFIG_ARTIFACT, log_config
from pipeline.signing.signer import configured_signer
from pipeline.tracking import StepRun, check_tracking, leave_project_run, log_record, step
from registry.client import ModelVersion, Registry
from registry.evaluation import load_evaluation
from registry.lease import Lease, is_left, renewed_lease
from registry.ledger import Ledger
from registry.register import registered
from slipway.errors import ConflictError, InputError, IntegrityError, Interrupted, SlipwayError

if TYPE_CHECKING:
    from pipeline.data import Dataset
    from pipeline.promotion import Promotion
    from registry.gate import GateReport

LEASE_S = 120.0
_FOR_GOOD = (InputError, IntegrityError, OutOfTime)  # going on would end in the same way


@dataclass(frozen=True)
class Request:
    """What is asked for beside the configuration. to: champion, or canary."""

    to: str = "champion"
    force: bool = False

    def __post_init__(self) -> None:
        if self.to not in ("champion", "canary"):
            raise InputError(f"--to {self.to!r}: expected champion or canary. Pass one of them.")


def retrain(config: Config, request: Request, clock: Clock = time.time) -> Outcome:
    """Decide whether to train, and if so take a candidate all the way to champion, canary or a refusal.

    One process at a time for each model: a second one says who is at it. One that was killed is gone on with.
    """
    began_s = time.monotonic()
    check_tracking()
    registry = Registry()
    configured_signer(config.signing)  # a key that cannot be used is said before a training, not after it
    with contextlib.ExitStack() as stack:
        try:
            held = _only_one(stack, open_ledger(registry), f"retrain:{config.name}")
        except ConflictError as busy:
            return Outcome(config.name, "busy", str(busy))
        return _decided(config, request, registry, held, (clock, began_s))


def _only_one(stack: contextlib.ExitStack, ledger: Ledger, key: str) -> Lease:
    """The lease; ConflictError where its holder lives. The Pod of a Job that is tried again outlasts the killed one."""
    try:
        return stack.enter_context(renewed_lease(ledger, key, LEASE_S))
    except ConflictError as busy:
        report(f"{busy} One that renews it no more is waited out.")
        if not is_left(ledger, key):
            raise
    return stack.enter_context(renewed_lease(ledger, key, LEASE_S))


def _decided(config: Config, request: Request, registry: Registry, held: Lease, times: tuple[Clock, float]) -> Outcome:
    clock, began_s = times
    with failures_recorded(registry, config.name, clock):
        unfinished = begun(config, request.to)
        if unfinished is not None:
            config = unfinished.config
            leave_project_run()
            report(f"going on with run {unfinished.run.run_id}, a retraining that was stopped")
        dataset = lifecycle.data(config)
        if unfinished is not None:
            decision = Decision(train=True, why=unfinished.why)
        else:
            known = facts(registry, held.ledger, config.name, dataset, clock)
            decision = decide(known, config.retrain, force=request.force)
            if decision.train:
                check_sets(config, dataset, champion_of(registry, config.name))
        if not decision.train:
            outcome = Outcome(config.name, "declined", decision.why)
            record(registry, outcome, clock)
            return outcome
    resumed = unfinished.run.run_id if unfinished else None
    tags = _tags(config, dataset, decision, request.to, unfinished)
    with (
        step("retrain", config.experiment, resume=resumed, tags=tags) as run,
        failures_recorded(registry, config.name, clock, run),
    ):
        work = _Retraining(config, registry, held, run, decision)
        outcome = work.outcome(request.to, _budget(config, held, began_s), resumed=unfinished is not None)
        record(registry, outcome, clock)
        run.text("report.txt", outcome.text() + "\n")
        log_record(run, "report.json", outcome.as_dict())
        run.tags({OPEN: "", "slipway.retrain": outcome.ending})  # last: until then it can be gone on with
    return outcome


@contextlib.contextmanager
def failures_recorded(registry: Registry, name: str, clock: Clock, run: StepRun | None = None) -> Iterator[None]:
    """Say on the model what failed; close the run, too, where going on with it would end in the same way.

    What nobody foresaw is said as well: it is the last that a timer's reader would look for in a Pod that is gone.
    """
    try:
        yield
    except Interrupted:
        raise
    except Exception as error:
        said = str(error) if isinstance(error, SlipwayError) else f"{type(error).__name__}: {error}"
        with contextlib.suppress(SlipwayError):  # the first error is the one to be told
            record_failure(registry, name, said, run.run_id if run else "", clock)
        if run is not None and isinstance(error, _FOR_GOOD):
            run.tags({OPEN: ""})
        raise


def _tags(config: Config, dataset: "Dataset", decision: Decision, to: str, unfinished: Begun | None) -> dict[str, str]:
    attempts = unfinished.attempts + 1 if unfinished else 1
    fresh = {} if unfinished else {PHASE: "decide", WHY: decision.why, TO: to, DATASET: dataset.digest}
    return {**fresh, ATTEMPTS: str(attempts), OPEN: config.name}


def _budget(config: Config, held: Lease, began_s: float) -> Budget:
    minutes = config.retrain.max_minutes
    return Budget(began_s + 60 * minutes if minutes else math.inf, held.check)


class _Retraining:
    """One retraining, from the decision on. What an earlier process has finished of it is not done again."""

    def __init__(self, config: Config, registry: Registry, held: Lease, run: StepRun, decision: Decision) -> None:
        self._config = config
        self._registry = registry
        self._held = held
        self._run = run
        self._decision = decision

    def outcome(self, to: str, budget: Budget, *, resumed: bool) -> Outcome:
        dataset = lifecycle.data(self._config)
        if not resumed:
            champion = champion_of(self._registry, self._config.name)
            self._config = with_weights(self._config, champion, dataset)
            log_config(self._config, dataset, self._run)
        report(f"retraining {self._config.name}: {self._decision.why}")
        trained = self._train(budget)
        version = self._registered(trained)
        self._phase("gate")
        verdict = lifecycle.gate(self._config, version)
        self._run.metrics({_metric(rule.rule): rule.measured for rule in verdict.rules if rule.measured is not None})
        ending: Ending = "refused"
        why = self._decision.why
        if verdict.passed:
            self._phase("promote")
            promotion = self._promoted(version, verdict, to)
            if promotion.exit_code == 1:
                raise ConflictError(f"{version.name} version {version.version}: {promotion.text()}")
            if promotion.done:
                ending = "canary" if to == "canary" else "promoted"
            else:
                why = f"{why}; it did not go live: {promotion.text().splitlines()[-1]}"
        return Outcome(
            self._config.name,
            ending,
            why,
            self._run.run_id,
            version.version,
            verdict,
            resumed=resumed,
            excluded=dataset.excluded,
        )

    def _train(self, budget: Budget) -> str:
        """The run of the training, begun, gone on with, or found finished."""
        from pipeline.train import NETWORK_ARTIFACT

        self._phase("train")
        left = children(self._run, self._config.experiment)
        fetch_weights(self._config)
        for child in left:
            if child.tag("slipway.step") == "train" and CONFIG_ARTIFACT in child.artifacts(""):
                if NETWORK_ARTIFACT not in child.artifacts("network"):
                    return lifecycle.train(self._config, child.run_id, budget).run_id
                child.remove("checkpoint")
                if child.is_running:
                    child.end("FINISHED")
                return child.run_id
            if child.is_running:
                child.end("KILLED")
        return lifecycle.train(self._config, None, budget).run_id

    def _registered(self, trained: str) -> ModelVersion:
        if registered(self._registry, self._config.name, trained) is None:
            self._phase("evaluate")
            if load_evaluation(self._registry, trained) is None:
                lifecycle.evaluate(self._config, trained)
            if self._config.optimize.names:
                lifecycle.optimize(self._config, trained)
            self._phase("register")
        version = lifecycle.register(self._config, trained)
        self._run.tags({"slipway.version": version.version})
        return version

    def _promoted(self, version: ModelVersion, verdict: "GateReport", to: str) -> "Promotion":
        reason = f"retrained: {self._decision.why}"
        if to == "canary":
            return lifecycle.challenge(self._config, version, reason)
        picture = lifecycle.data(self._config).test[0].file
        return lifecycle.promote(self._config, version, verdict, reason, picture=picture)

    def _phase(self, name: str) -> None:
        self._held.check()
        self._run.tags({PHASE: name})


def _metric(rule: str) -> str:
    """A rule's name as MLflow takes a metric's."""
    return "gate/" + rule.replace(", ", " ").replace("'", "").replace(" ", "_")
