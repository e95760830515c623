"""The way of a model, step by step: each is a function of the configuration and what the one before it returned.

images -> data -> train -> evaluate -> optimize -> servable -> register -> gate -> promote -> publish -> verify -> live
"""

import tempfile
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from pipeline.config import Config
from pipeline.data.config import DataConfig
from pipeline.progress import report
from pipeline.retrain.regression import must_be_right, regression_rules
from pipeline.run_inputs import check_labels, check_same_data, log_inputs, logged_bill, resumed_config, run_config
from pipeline.signing.signer import configured_signer
from pipeline.tracking import StepRun, check_tracking, open_run, step
from registry.client import ModelVersion, Registry
from registry.gate import GateReport
from slipway.errors import InputError

if TYPE_CHECKING:
    from pipeline.budget import Budget
    from pipeline.data import Dataset
    from pipeline.optimize.table import Comparison
    from pipeline.promotion import Promotion
    from pipeline.rollback import Rollback
    from pipeline.train import TrainedModel
    from pipeline.verify import Verification
    from registry.evaluation import Evaluation
    from serving.stores import Publication
    from slipway.keys import Signer


@dataclass(frozen=True)
class Outcome:
    """What `main` came to: everything, or the refusal that ended it."""

    trained: "TrainedModel"
    evaluation: "Evaluation"
    version: ModelVersion
    gate: GateReport
    verification: "Verification | None"  # None after a refusal


def main(config: Config, resume: str | None = None) -> Outcome:
    """From images to a version that is live, each step a run below one parent run."""
    if resume:
        config = resumed_config(open_run(resume), config)
    configured_signer(config.signing)  # a key that cannot be used is said before a training, not after it
    with step("main", config.experiment):
        trained = train(config, resume)
        evaluation = evaluate(config, trained.run_id)
        if config.optimize.names:
            optimize(config, trained.run_id)
        version = register(config, trained.run_id)
        verdict = gate(config, version)
        promotion = promote(config, version, verdict, "trained by `main`", picture=data(config).test[0].file)
        verification = verify(config, version, promotion) if promotion.done else None
    return Outcome(trained, evaluation, version, verdict, verification)


def train(config: Config, resume: str | None = None, budget: "Budget | None" = None) -> "TrainedModel":
    """Train the configured network, or go on with the run `resume` under the configuration it began with.

    A frozen backbone's features are computed once and kept in the workdir, unless images are moved.
    """
    from pipeline.epochs import Alone
    from pipeline.features import OnFeatures, learns_from_features
    from pipeline.train import Learning
    from pipeline.train import train as train_network

    check_tracking()
    if resume:
        config = unfinished(open_run(resume))
    config.train.check_files()
    dataset = data(config)
    with step("train", config.experiment, resume=resume) as run:
        log_inputs(config, dataset, run)
        learning: Learning = Alone(config.train, dataset, budget)
        if learns_from_features(config.train):
            learning = OnFeatures(config.train, dataset, Path(config.workdir) / "features", report, budget)
        return train_network(config.train, dataset, run, report, learning, budget)


def data(config: Config) -> "Dataset":
    """The validated, split, digested images, without those of the regression set."""
    return _loaded(config.data, config.retrain.regression_set, config.workdir)


def evaluate(config: Config, run_id: str) -> "Evaluation":
    """Evaluate a finished training on the held-out images, and log the numbers and pictures to its run."""
    from pipeline import evaluate as evaluation
    from pipeline.train import load_network
    from registry.evaluation import OWN_SPLIT_TAG, save_evaluation

    trained = open_run(run_id)
    dataset = data(config)
    with step("evaluate", config.experiment) as run:
        check_labels(dataset, trained)
        network = load_network(trained)
        result, probabilities = evaluation.evaluate(network, dataset, run_id)
        own = trained.tag(OWN_SPLIT_TAG) in (None, result.split_digest)
        save_evaluation(Registry(), result, own=own)
        mistakes = evaluation.mistakes(network, result, probabilities, dataset)
        for place in (run, trained) if own else (run,):
            place.metrics(evaluation.metrics_of(result))
            place.figure("confusion_matrix.png", evaluation.confusion_matrix(result))
            place.figure("per_class.png", evaluation.per_class_bars(result))
            for name, picture in mistakes.items():
                place.figure(name, picture)
        report(f"evaluated on {result.images} held-out images: accuracy {result.accuracy:.4f}")
    return result


def optimize(config: Config, run_id: str) -> "Comparison":
    """Build the configured variants of a run's network, compare them with it, and log all of it to the run."""
    from pipeline.optimize import optimization
    from pipeline.train import load_network

    trained = open_run(run_id)
    dataset = data(config)
    check_labels(dataset, trained)
    check_same_data(dataset, trained)
    with step("optimize", config.experiment), tempfile.TemporaryDirectory(prefix="slipway-optimize-") as scratch:
        images = optimization.Images(dataset, must_be_right(config, dataset.labels))
        return optimization.optimize(load_network(trained), images, config.optimize, trained, Path(scratch), report)


def register(config: Config, run_id: str) -> ModelVersion:
    """Seal the run's network as a servable, log both as one MLflow model, create a version of it, and sign that."""
    from pipeline.card_facts import card_facts
    from pipeline.held_out import held_out
    from pipeline.optimize.kept import check_optimized, fetch_optimized
    from pipeline.package import log_model
    from pipeline.publication import verify_registered
    from pipeline.train import load_network
    from registry.evaluation import load_evaluation
    from registry.register import Registration, registered
    from registry.register import register as create
    from registry.signing import signature_of
    from serving.servable.build import Examples, Provenance, build_servable

    registry, signer = Registry(), configured_signer(config.signing)
    trained = open_run(run_id)
    present = registered(registry, config.name, run_id)
    if present is not None:
        report(f"run {run_id} is registered already")
        if signer is not None and signature_of(present) is None:
            verify_registered(registry, present)  # it was not made just now, and others may write there
        return _signed(registry, present, signer)
    dataset = data(config)
    check_labels(dataset, trained)
    check_same_data(dataset, trained)
    evaluated = load_evaluation(registry, run_id)
    if evaluated is None:
        raise InputError(
            f"run {run_id} has no evaluation; expected one before registration. Run: slipway evaluate --run-id {run_id}"
        )
    check_optimized(trained, config.optimize)
    commit = trained.tag("slipway.git_commit") or "unknown"
    with step("register", config.experiment), tempfile.TemporaryDirectory(prefix="slipway-servable-") as scratch:
        network = load_network(trained)
        examples = Examples([record.file for record in dataset.test], dataset.max_pixels, held_out(dataset))
        provenance = Provenance(run_id, commit, dataset.digest, logged_bill(trained))
        optimized = fetch_optimized(trained, Path(scratch) / "optimized")
        directory = Path(scratch) / "servable"
        servable = build_servable(network, dataset.labels, examples, provenance, directory, optimized=optimized)
        report(f"servable built: {servable.size_bytes / 1e6:.0f} MB, parity {servable.parity:.1e}")
        logged = log_model(network, servable.directory, run_id)
        version = create(
            registry,
            Registration(
                source=logged.uri,
                model_digest=logged.digest,
                manifest_digest=servable.manifest_digest,
                parity=servable.parity,
                size_bytes=servable.size_bytes,
                card=card_facts(config.name, trained, network, dataset, servable.directory),
                evaluation=evaluated,
            ),
        )
    report(f"registered {version.name} version {version.version}")
    return _signed(registry, version, signer)


def _signed(registry: Registry, version: ModelVersion, signer: "Signer | None") -> ModelVersion:
    """The version with its signature, if somebody is to sign; a registration may have been killed before it was."""
    from registry.signing import sign_version, signature_of

    if signer is None or signature_of(version) is not None:
        return version
    sign_version(registry, version, signer)
    report(f"signed by key {signer.key_id}")
    return registry.version(version.name, version.version)


def gate(config: Config, version: ModelVersion) -> GateReport:
    """Compare a version with the policy and the champion; re-evaluates a champion whose numbers are of other images.

    A version that was retrained with a regression set is compared on that, too.
    """
    from pipeline.promotion import judge

    with step("gate", config.experiment) as run:
        return judge(config, version, run, _evaluate_champion, regression_rules)


def promote(
    config: Config,
    version: ModelVersion,
    verdict: GateReport,
    reason: str = "",
    *,
    force: bool = False,
    picture: Path | None = None,
) -> "Promotion":
    """Publish a version that the gate passed, make it champion, and have it go live once it has answered.

    picture: an image that it is asked about besides its golden requests.
    """
    from pipeline import promotion

    return promotion.to_champion(config, version, verdict, promotion.Why(reason, force=force), picture)


def challenge(config: Config, version: ModelVersion, reason: str = "") -> "Promotion":
    """Make a version the challenger and have it loaded as the canary; what is live stays."""
    from pipeline import promotion

    return promotion.to_challenger(config, version, reason)


def export(config: Config, version: ModelVersion) -> "Publication":
    """Publish a version's verified servable below the base path; a no-op where it is there and whole."""
    from pipeline.publication import publish

    return publish(config, Registry(), version)


def verify(config: Config, version: ModelVersion, promotion: "Promotion") -> "Verification":
    """What a promoted version answered: its golden requests and one held-out picture, on what serves it.

    Its golden requests are not asked again where the promotion has asked them.
    """
    from pipeline.reconcile.world import open_world
    from pipeline.verify import verification

    record = data(config).test[0]
    verified = promotion.verified
    if verified is None or verified.prediction is None:  # another process has made it live
        with open_world(config, record.file) as world:
            verified = world.serving.verify(version)
    return verification(verified, record)


def rollback(config: Config, to: int | None = None, reason: str = "", began: float | None = None) -> "Rollback":
    """Make the previous champion, or version `to`, live again, its bytes and its answers having been checked first.

    began: see `roll_back`.
    """
    from pipeline.rollback import roll_back

    return roll_back(config, to, reason, began)


@cache
def _loaded(config: DataConfig, regression_set: str, workdir: str) -> "Dataset":
    """Each step asks for the images; within one process they are validated once."""
    from pipeline.data import load_dataset

    try:
        Path(workdir).mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(
            f"workdir {workdir}: {error.strerror}; expected a folder that can be written. Pass another --workdir."
        ) from error
    dataset = load_dataset(config, Path(workdir), regression_set)
    report(dataset.summary())
    return dataset


def _evaluate_champion(champion: ModelVersion, candidate: ModelVersion) -> "Evaluation":
    """The champion on the candidate's held-out images."""
    report(f"evaluating champion version {champion.version} on the images of version {candidate.version}")
    return evaluate(run_config(open_run(candidate.run_id)), champion.run_id)


def unfinished(run: StepRun) -> Config:
    """The configuration that a run began with; InputError if its training has ended already."""
    from pipeline.train import NETWORK_ARTIFACT

    if NETWORK_ARTIFACT in run.artifacts("network"):
        raise InputError(
            f"run {run.run_id} has finished its training; expected one that was stopped. "
            f"Go on with: slipway evaluate --run-id {run.run_id}"
        )
    return run_config(run)
