"""How MLflow is called for the registry: few retries, no notices, and its own tracking address."""

import contextlib
import logging
import os
import warnings
from collections.abc import Iterator

_RETRIES = "MLFLOW_HTTP_REQUEST_MAX_RETRIES"
_PROGRESS = "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR"


@contextlib.contextmanager
def few_retries() -> Iterator[None]:
    """Let a server's failure show within about ten seconds, unless the user has said how often to retry.

    MLflow's seven retries take four minutes, also for a failure that is none of the network's. Long work that logs as
    it goes keeps that patience: this lasts for the block only.
    """
    if _RETRIES in os.environ:
        yield
        return
    os.environ[_RETRIES] = "2"
    try:
        yield
    finally:
        os.environ.pop(_RETRIES, None)


@contextlib.contextmanager
def without_progress_bars() -> Iterator[None]:
    """Leave MLflow's progress bars out of standard error, unless the user has said otherwise."""
    if _PROGRESS in os.environ:
        yield
        return
    os.environ[_PROGRESS] = "false"
    try:
        yield
    finally:
        os.environ.pop(_PROGRESS, None)


@contextlib.contextmanager
def process_wide(tracking_uri: str) -> Iterator[None]:
    """MLflow's SQL store looks a LoggedModel up at the process's tracking address, not at its own."""
    import mlflow

    before = mlflow.get_tracking_uri()
    if before == tracking_uri:
        yield
        return
    mlflow.set_tracking_uri(tracking_uri)
    try:
        yield
    finally:
        mlflow.set_tracking_uri(before)


@contextlib.contextmanager
def quietly() -> Iterator[None]:
    """Without MLflow's notices on stages (deprecated, and wanted here for the older UI) and on version creation."""
    logger = logging.getLogger("mlflow")
    level = logger.level
    logger.setLevel(logging.WARNING)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", FutureWarning)
            yield
    finally:
        logger.setLevel(level)
