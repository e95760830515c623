"""One tracking address of MLflow: the connection to it, and the runs there."""

import contextlib
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import Any

from registry.mlflow_calls import few_retries
from registry.mlflow_errors import check_reachable, mlflow_errors
from slipway.credentials import without_credentials
from slipway.errors import NotFoundError

LISTED = 10  # how many names an error lists


class Runs:
    """MLflow's runs, and their artifacts, at one tracking address.

    Every method raises UnavailableError when the address does not answer and NotFoundError, listing what there is,
    for a run or artifact that does not exist.
    """

    def __init__(self, tracking_uri: str | None = None) -> None:
        """Connect to `tracking_uri`, or to the one that MLflow is configured for."""
        import mlflow

        self.tracking_uri: str = tracking_uri or mlflow.get_tracking_uri()
        check_reachable(self.tracking_uri)
        with self._translated():
            self._client: Any = mlflow.MlflowClient(tracking_uri)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({without_credentials(self.tracking_uri)!r})"

    @contextlib.contextmanager
    def _translated(self, place: str = "") -> Iterator[None]:
        with mlflow_errors(place or f"tracking store {self.tracking_uri}"), few_retries():
            yield

    def run_tags(self, run_id: str) -> Mapping[str, str]:
        """Every tag of a run."""
        return dict(self._run(run_id).data.tags)

    def set_run_tag(self, run_id: str, key: str, value: str) -> None:
        """Add or replace one tag of a run."""
        self._run(run_id)
        with self._translated(f"run {run_id}: tag {key}"):
            self._client.set_tag(run_id, key, value)

    def _run(self, run_id: str) -> Any:
        try:
            with self._translated():
                return self._client.get_run(run_id)
        except NotFoundError as exc:
            with self._translated():
                experiments = [each.experiment_id for each in self._client.search_experiments()]
                runs = self._client.search_runs(experiments, max_results=LISTED + 1)
            existing = listing([run.info.run_id for run in runs])
            raise NotFoundError(
                f"run {run_id!r} does not exist at {without_credentials(self.tracking_uri)}; "
                f"the newest are {existing}. Name one of these, or train one."
            ) from exc

    def read_artifact(self, run_id: str, path: str) -> bytes:
        """The bytes of one file among a run's artifacts."""
        self._run(run_id)
        with self._translated(f"artifact {path} of run {run_id}"), tempfile.TemporaryDirectory() as folder:
            existing = [each.path for each in self._client.list_artifacts(run_id, parent_of(path) or None)]
            if path not in existing:
                raise NotFoundError(f"run {run_id} has no artifact {path}; there is {listing(existing)}. Log it first.")
            return Path(self._client.download_artifacts(run_id, path, folder)).read_bytes()

    def log_artifact_bytes(self, run_id: str, path: str, data: bytes) -> None:
        """Store `data` as the file `path` among a run's artifacts, replacing what was there."""
        self._run(run_id)
        with self._translated(f"artifact {path} of run {run_id}"), tempfile.TemporaryDirectory() as folder:
            file = Path(folder, PurePosixPath(path).name)
            file.write_bytes(data)
            self._client.log_artifact(run_id, str(file), parent_of(path) or None)


def parent_of(path: str) -> str:
    """The folder of an artifact; "" for one at the root."""
    parent = str(PurePosixPath(path).parent)
    return "" if parent == "." else parent


def listing(names: Sequence[str]) -> str:
    """The first names, for an error; "none" when there are none."""
    shown = ", ".join(names[:LISTED])
    return f"{shown}, ..." if len(names) > LISTED else shown or "none"
