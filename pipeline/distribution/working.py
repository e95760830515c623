"""The process that a worker computes in: its job on standard input, what becomes of it on standard output, in JSON.

Its events, a line each: `joined`; `epoch`, once one is learned and kept; `lost`, when another worker is gone; `failed`,
with an error of ours; `done`, with what was trained. It is ended by SIGKILL at any time: what it writes stands that.
"""

import dataclasses
import json
import os
import sys
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from pipeline.config import Config, config_from_json
from pipeline.distribution.agreement import check_agreement, description
from pipeline.distribution.learning import Together
from pipeline.distribution.place import place_from
from pipeline.distribution.workers import Workers, join
from pipeline.progress import epoch_line, report
from pipeline.tracking import StepRun
from pipeline.train import TrainedModel
from slipway.errors import SlipwayError
from slipway.tensorflow_start import start_tensorflow

if TYPE_CHECKING:
    from pipeline.data import Dataset

Tell = Callable[..., None]


def main() -> None:
    """Do the job and leave, without the farewells of libraries, some of which wait for workers that are gone."""
    events = os.fdopen(os.dup(1), "w", encoding="utf-8", buffering=1)
    os.dup2(2, 1)  # what libraries print must not come between the events

    def tell(event: str, **more: Any) -> None:
        events.write(json.dumps({"event": event, **more}) + "\n")

    job = json.load(sys.stdin)
    place = place_from(os.environ)
    start_tensorflow(device=False)
    try:
        workers = join(place)
        tell("joined")
        trained = _train(config_from_json(job["config"], "the job"), job["run_id"], workers, tell)
        # Once the chief is here, everything is written; without it nobody is done.
        (workers.part if place.is_chief else workers.meet)()
        tell("done", trained=trained and dataclasses.asdict(trained))
        workers.part()
    except SlipwayError as error:
        tell("failed", kind=type(error).__name__, message=str(error))
    except _gone() as error:
        tell("lost", kind=type(error).__name__)
    sys.stderr.flush()
    os._exit(0)


def _gone() -> tuple[type[Exception], ...]:
    """What TensorFlow raises where another worker is gone. Other errors are of this worker, and end it."""
    from tensorflow import errors

    return (
        errors.AbortedError,
        errors.CancelledError,
        errors.DeadlineExceededError,
        errors.FailedPreconditionError,
        errors.InternalError,
        errors.UnavailableError,
        errors.UnknownError,
    )


def _train(config: Config, run_id: str | None, workers: Workers, tell: Tell) -> TrainedModel | None:
    from pipeline import lifecycle

    dataset = lifecycle.data(config)
    _agree(config, dataset, workers)
    together = Together(workers, config.train, dataset)
    if run_id is not None:
        return _as_chief(config, StepRun(run_id), dataset, together, tell)
    _beside(config, dataset, together, tell)
    return None


def _agree(config: Config, dataset: "Dataset", workers: Workers) -> None:
    import keras
    import tensorflow as tf

    versions = {"tensorflow": tf.__version__, "keras": keras.__version__}
    said = workers.told(description(config.train, dataset, versions))
    workers.part()
    check_agreement(said)


def _as_chief(config: Config, run: StepRun, dataset: "Dataset", together: Together, tell: Tell) -> TrainedModel:
    from pipeline.run_inputs import log_inputs
    from pipeline.train import train

    def kept(line: str) -> None:
        report(line)
        tell("epoch")

    log_inputs(config, dataset, run)
    return train(config.train, dataset, run, kept, together)


def _beside(config: Config, dataset: "Dataset", together: Together, tell: Tell) -> None:
    from pipeline.train import computing, fresh_network

    with computing(config.train):
        # The chief's weights come to all: a file that only it has is not looked for here.
        network = fresh_network(dataclasses.replace(config.train, weights="none", keep_head=False), dataset)
        together.begin(network, 0)
        for epoch in range(together.first_epoch, config.train.epochs):
            started = time.monotonic()
            metrics = together.epoch(epoch)
            report(epoch_line(epoch + 1, config.train.epochs, metrics, time.monotonic() - started))
            tell("epoch")


if __name__ == "__main__":
    main()
