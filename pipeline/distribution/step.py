"""The step `train` on several workers: the chief has the run, the others help it and end with it."""

import os
from typing import TYPE_CHECKING

from pipeline.config import Config, config_to_json
from pipeline.distribution.meeting import listening
from pipeline.distribution.place import Place, place_from
from pipeline.distribution.shares import check_batch_size
from pipeline.distribution.supervision import Job, supervised
from pipeline.progress import report
from slipway.errors import InputError, Interrupted

if TYPE_CHECKING:
    from pipeline.tracking import StepRun
    from pipeline.train import TrainedModel

_PEER_TIMEOUT_S = 600.0


def train_distributed(config: Config, resume: str | None, peer_timeout_s: float | None) -> "TrainedModel | None":
    """Train as the worker that TF_CONFIG says; the run for the chief, None for the other workers.

    resume: as for one worker. The others may do without it: they get everything from the chief, but the configuration.
    """
    from pipeline.lifecycle import unfinished
    from pipeline.tracking import check_tracking, open_run, step

    place = place_from(os.environ)
    timeout_s = _PEER_TIMEOUT_S if peer_timeout_s is None else peer_timeout_s
    if not timeout_s > 0:
        raise InputError(f"--peer-timeout-s is {timeout_s:g}; expected above 0. Pass more seconds, or leave it out.")
    listening(place).close()  # before a run is begun
    if resume:
        config = unfinished(open_run(resume))
    check_batch_size(config.train.batch_size, place.workers)
    if not place.is_chief:
        _helped(config, place, timeout_s)
        return None
    check_tracking()
    config.train.check_files()
    with step("train", config.experiment, resume=resume) as run:
        run.tags({"slipway.workers": place.workers})
        return _led(config, run, place, timeout_s)


def _led(config: Config, run: "StepRun", place: Place, peer_timeout_s: float) -> "TrainedModel":
    from pipeline.train import TrainedModel

    try:
        trained = supervised(Job(config_to_json(config), run.run_id), place, peer_timeout_s)
    except KeyboardInterrupt:
        raise Interrupted(
            f"stopped; run {run.run_id} is KILLED and keeps its last finished epoch. "
            f"Go on, while the other workers wait, with: slipway train --distribute --resume {run.run_id}"
        ) from None
    assert trained is not None, "the chief's process says what it trained"
    return TrainedModel(**trained)


def _helped(config: Config, place: Place, peer_timeout_s: float) -> None:
    try:
        supervised(Job(config_to_json(config), None), place, peer_timeout_s)
    except KeyboardInterrupt:
        raise Interrupted(f"stopped; the others wait for {place.name}. Start it again with the same command.") from None
    report(f"{place.name}: done; the chief, {place.addresses[0]}, has the run")
