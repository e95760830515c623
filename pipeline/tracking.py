"""The door to MLflow's tracking: a step is a run, ended FINISHED, FAILED or KILLED, whatever happens."""

import contextlib
import json
import os
import tempfile
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from registry.mlflow_errors import check_reachable, mlflow_errors
from slipway.errors import Interrupted, NotFoundError, SlipwayError


class StepRun:
    """One MLflow run, written through its id, so that a step may add to a run that is not the active one."""

    def __init__(self, run_id: str) -> None:
        import mlflow

        self.run_id = run_id
        self._place = f"run {run_id}"
        self._client = mlflow.MlflowClient()

    def params(self, values: Mapping[str, Any]) -> None:
        """Log parameters; one that the run already has keeps its value."""
        from mlflow.entities import Param

        present = self._run().data.params
        fresh = [Param(key, str(value)) for key, value in values.items() if key not in present]
        with mlflow_errors(self._place):
            self._client.log_batch(self.run_id, params=fresh)

    def tags(self, values: Mapping[str, Any]) -> None:
        with mlflow_errors(self._place):
            for key, value in values.items():
                self._client.set_tag(self.run_id, key, str(value))

    def tag(self, key: str) -> str | None:
        value = self._run().data.tags.get(key)
        return None if value is None else str(value)

    def metrics(self, values: Mapping[str, float], step: int = 0) -> None:
        """Log the metrics of a step, all or none."""
        from mlflow.entities import Metric

        now_ms = int(time.time() * 1000)
        points = [Metric(key, value, now_ms, step) for key, value in values.items()]
        with mlflow_errors(self._place):
            self._client.log_batch(self.run_id, metrics=points, synchronous=True)

    def latest_metrics(self) -> dict[str, float]:
        return dict(self._run().data.metrics)

    def metric_history(self, key: str) -> tuple[list[int], list[float]]:
        """Steps and values, in the order of the steps; none for a metric that was never logged."""
        with mlflow_errors(self._place):
            points = sorted((point.step, point.value) for point in self._client.get_metric_history(self.run_id, key))
        return [step for step, _ in points], [value for _, value in points]

    def file(self, path: Path, folder: str = "") -> None:
        with mlflow_errors(self._place):
            self._client.log_artifact(self.run_id, str(path), folder or None)

    def text(self, path: str, content: str) -> None:
        with mlflow_errors(self._place):
            self._client.log_text(self.run_id, content, path)

    def dataset(self, dataset: Any, context: str) -> None:
        """Record an `mlflow.data` dataset as an input of the run."""
        from mlflow.entities import DatasetInput, InputTag
        from mlflow.utils.mlflow_tags import MLFLOW_DATASET_CONTEXT

        with mlflow_errors(self._place):
            used = DatasetInput(dataset._to_mlflow_entity(), [InputTag(MLFLOW_DATASET_CONTEXT, context)])  # noqa: SLF001
            self._client.log_inputs(self.run_id, [used])

    def figure(self, path: str, figure: Any) -> None:
        with mlflow_errors(self._place):
            self._client.log_figure(self.run_id, figure, path)

    def read_text(self, path: str) -> str:
        with tempfile.TemporaryDirectory(prefix="slipway-read-") as scratch:
            return self.download(path, Path(scratch)).read_text(encoding="utf-8")

    def artifacts(self, folder: str) -> list[str]:
        with mlflow_errors(self._place):
            return [entry.path for entry in self._client.list_artifacts(self.run_id, folder)]

    def size_bytes(self, path: str) -> int:
        """Of one artifact file; 0 where the store does not say."""
        with mlflow_errors(self._place):
            listed = self._client.list_artifacts(self.run_id, path.rpartition("/")[0])
        return next((entry.file_size or 0 for entry in listed if entry.path == path), 0)

    def download(self, path: str, into: Path) -> Path:
        """Fetch one artifact file; NotFoundError if the run does not have it."""
        import mlflow

        parent, _, _ = path.rpartition("/")
        if path not in self.artifacts(parent):
            raise NotFoundError(f"run {self.run_id} has no artifact {path}; expected a run of the step that makes it.")
        with mlflow_errors(self._place):
            return Path(mlflow.artifacts.download_artifacts(run_id=self.run_id, artifact_path=path, dst_path=str(into)))

    def remove(self, path: str) -> None:
        """Delete an artifact file or folder, if it is there."""
        from mlflow.store.artifact.artifact_repository_registry import get_artifact_repository

        parent, _, _ = path.rpartition("/")
        if path in self.artifacts(parent):
            get_artifact_repository(self._run().info.artifact_uri).delete_artifacts(path)

    @property
    def is_running(self) -> bool:
        """Whether MLflow takes it for running, which it does as well if its process was killed."""
        return bool(self._run().info.status == "RUNNING")

    def end(self, status: str) -> None:
        """End a run that `kept_run` began, or whose process is gone: FINISHED, FAILED or KILLED."""
        with mlflow_errors(self._place):
            self._client.set_terminated(self.run_id, status)

    def _run(self) -> Any:
        with mlflow_errors(self._place):
            return self._client.get_run(self.run_id)


def open_run(run_id: str) -> StepRun:
    """An existing run; NotFoundError if there is none of that id."""
    run = StepRun(run_id)
    run.latest_metrics()
    return run


def kept_run(name: str, experiment: str, tag: tuple[str, str]) -> StepRun:
    """The run with that tag (key and value), begun if there is none; it outlives this process until it is ended."""
    import mlflow

    check_tracking()
    key, value = tag
    client = mlflow.MlflowClient()
    with mlflow_errors(f"run {name}"):
        experiment_id = os.environ.get("MLFLOW_EXPERIMENT_ID") or mlflow.set_experiment(experiment).experiment_id
        present = client.search_runs([experiment_id], f"tags.`{key}` = '{value}'", max_results=1)
        run = present[0] if present else client.create_run(experiment_id, run_name=name, tags={key: value})
    return StepRun(run.info.run_id)


def found_runs(experiment: str, tags: Mapping[str, str]) -> list[StepRun]:
    """The runs of an experiment that have all these tags, the newest first; none where there is no such experiment."""
    import mlflow

    check_tracking()
    client = mlflow.MlflowClient()
    condition = " and ".join(f"tags.`{key}` = '{value}'" for key, value in tags.items())
    with mlflow_errors(f"experiment {experiment}"):
        present = client.get_experiment_by_name(experiment)
        chosen = os.environ.get("MLFLOW_EXPERIMENT_ID") or (present and present.experiment_id)
        found = client.search_runs([chosen], condition, order_by=["start_time DESC"]) if chosen else []
    return [StepRun(run.info.run_id) for run in found]


@contextlib.contextmanager
def step(
    name: str, experiment: str, *, resume: str | None = None, tags: Mapping[str, str] | None = None
) -> Iterator[StepRun]:
    """A run for a step: below the active one if there is one, in the run that `mlflow run` opened if it did.

    tags: what the run has from its first moment on.
    A stop by the user ends it as KILLED, and `Interrupted` names what to call next.
    """
    import mlflow

    check_tracking()
    with mlflow_errors(f"run of step {name}"):
        _enter_experiment(experiment, resume)
        resume = resume or _project_run()
        nested = mlflow.active_run() is not None
        active = mlflow.start_run(
            run_id=resume,
            run_name=None if resume else name,
            nested=nested,
            log_system_metrics=True,
            tags=dict(tags or {}),
        )
        run = StepRun(active.info.run_id)
        run.tags({"slipway.step": name})
    status = "FAILED"
    try:
        yield run
        status = "FINISHED"
    except (KeyboardInterrupt, Interrupted) as stop:
        status = "KILLED"
        raise stop if isinstance(stop, Interrupted) else Interrupted(_way_on(name, run)) from None
    except SlipwayError as error:
        run.tags({"slipway.error": str(error)[:4000]})
        raise
    finally:
        with mlflow_errors(f"run of step {name}"):
            mlflow.end_run(status)


def check_tracking() -> None:
    """Return if MLflow's tracking store answers; UnavailableError within seconds if not."""
    import mlflow

    check_reachable(mlflow.get_tracking_uri())


def _enter_experiment(experiment: str, resume: str | None) -> None:
    import mlflow

    mlflow.enable_system_metrics_logging()
    if mlflow.active_run() is not None or "MLFLOW_EXPERIMENT_ID" in os.environ:
        return
    if resume:  # a run goes on in the experiment that it began in
        mlflow.set_experiment(experiment_id=mlflow.get_run(resume).info.experiment_id)
    else:
        mlflow.set_experiment(experiment)


def leave_project_run() -> None:
    """Have this process take no run that `mlflow run` made for it: it goes on with another one."""
    _project_run()


def _project_run() -> str | None:
    """The run that `mlflow run` made for this process; the first step takes it, later ones go below it."""
    return os.environ.pop("MLFLOW_RUN_ID", None)


def _way_on(name: str, run: StepRun) -> str:
    if name == "train":
        way_on = f"Go on with: slipway train --resume {run.run_id}"
        return f"stopped; run {run.run_id} is KILLED and keeps its last finished epoch. {way_on}"
    if name == "retrain":
        return f"stopped; run {run.run_id} is KILLED. Go on with the same command: the next retrain finishes it."
    return f"stopped in {name}; run {run.run_id} is KILLED. Start it again: finished steps are kept."


def log_record(run: StepRun, path: str, record: Mapping[str, Any]) -> None:
    """Log a mapping as a JSON artifact."""
    run.text(path, json.dumps(record, indent=2, sort_keys=True))
