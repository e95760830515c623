"""The only door to MLflow's model registry and to the artifacts of runs and versions."""

import contextlib
import re
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any
from urllib.parse import urlsplit

from registry.mlflow_calls import few_retries, process_wide, quietly
from registry.mlflow_errors import check_reachable, mlflow_errors, without_credentials
from slipway.errors import NotFoundError
from slipway.names import check_alias, check_model_name, check_version

_LOGGED_MODEL = re.compile(r"models:/(m-[^/@]+)$")
_LISTED = 10


@dataclass(frozen=True)
class ModelVersion:
    """One version of a registered model, as the registry has it now."""

    name: str
    version: int
    run_id: str
    source: str  # what was registered: `models:/m-...` (a LoggedModel), or an artifact address
    stage: str  # None, Staging, Production or Archived
    aliases: tuple[str, ...]
    tags: Mapping[str, str]
    created_ms: int  # since the epoch
    description: str
    model_id: str | None  # the LoggedModel's, when the version was made from one


@dataclass(frozen=True)
class NewVersion:
    """What a version is created from. `source` is `models:/m-...` or an artifact address."""

    name: str
    source: str
    run_id: str
    tags: Mapping[str, str]
    description: str


class Registry:
    """MLflow's registry at one tracking address.

    Every method raises UnavailableError when the address does not answer and NotFoundError, listing what there is,
    for a name, version, alias, run or artifact that does not exist.
    """

    def __init__(self, tracking_uri: str | None = None) -> None:
        """Connect to `tracking_uri`, or to the one that MLflow is configured for."""
        import mlflow

        self.tracking_uri: str = tracking_uri or mlflow.get_tracking_uri()
        check_reachable(self.tracking_uri)
        with self._translated():
            self._client: Any = mlflow.MlflowClient(tracking_uri)

    def __repr__(self) -> str:
        return f"Registry({without_credentials(self.tracking_uri)!r})"

    @contextlib.contextmanager
    def _translated(self, place: str = "") -> Iterator[None]:
        with mlflow_errors(place or f"tracking store {self.tracking_uri}"), few_retries():
            yield

    # Versions

    def versions(self, name: str) -> tuple[ModelVersion, ...]:
        """Every version of `name`, lowest number first."""
        aliases = self.aliases(name)
        found = []
        token = None
        with self._translated():
            while True:
                page = self._client.search_model_versions(f"name='{name}'", page_token=token)
                found += [_from_mlflow(version, aliases) for version in page]
                token = page.token
                if not token:
                    return tuple(sorted(found, key=lambda version: version.version))

    def version(self, name: str, version: int | str) -> ModelVersion:
        """One version by its number."""
        number = check_version(version)
        aliases = self.aliases(name)
        try:
            with self._translated():
                found = self._client.get_model_version(name, str(number))
        except NotFoundError as exc:
            existing = _listing([str(each.version) for each in self.versions(name)])
            raise NotFoundError(f"{name} has no version {number}; it has {existing}. Name one of these.") from exc
        return _from_mlflow(found, aliases)

    def aliases(self, name: str) -> Mapping[str, int]:
        """Alias to version number. Read from the registered model: MLflow's searches leave aliases out."""
        check_model_name(name)
        try:
            with self._translated():
                return {alias: int(n) for alias, n in self._client.get_registered_model(name).aliases.items()}
        except NotFoundError as exc:
            with self._translated():
                names = [model.name for model in self._client.search_registered_models(max_results=_LISTED + 1)]
            raise NotFoundError(
                f"registered model {name!r} does not exist at {without_credentials(self.tracking_uri)}; "
                f"there is {_listing(names)}. Register a run first, or pass another --name."
            ) from exc

    def by_alias(self, name: str, alias: str) -> ModelVersion | None:
        """The version that bears `alias`; None when none does."""
        number = self.aliases(name).get(check_alias(alias))
        return None if number is None else self.version(name, number)

    def require_alias(self, name: str, alias: str) -> ModelVersion:
        """The version that bears `alias`; NotFoundError, listing the aliases there are, when none does."""
        found = self.by_alias(name, alias)
        if found is None:
            existing = _listing([f"{each} (version {n})" for each, n in self.aliases(name).items()])
            raise NotFoundError(
                f"{name} has no alias {alias!r}; it has {existing}. Promote a version to {alias}, or name a version."
            )
        return found

    def create_version(self, new: NewVersion) -> ModelVersion:
        """Create a version, and first its registered model if that is missing."""
        check_model_name(new.name)
        with self._translated(), quietly(), process_wide(self.tracking_uri):
            model_id = _logged_model_id(new.source)
            if model_id is not None:
                self._client.get_logged_model(model_id)  # a server answers a missing one by an internal error
            self._create_registered_model(new.name)
            created = self._client.create_model_version(
                new.name, new.source, new.run_id, dict(new.tags), None, new.description, model_id=model_id
            )
        return _from_mlflow(created, {})

    def _create_registered_model(self, name: str) -> None:
        from mlflow.exceptions import MlflowException

        try:
            self._client.create_registered_model(name)
        except MlflowException as exc:
            if exc.error_code not in {"RESOURCE_ALREADY_EXISTS", "ALREADY_EXISTS"}:
                raise

    def set_alias(self, name: str, alias: str, version: int) -> None:
        """Give `alias` to `version`, taking it from whichever had it."""
        self.version(name, version)
        with self._translated():
            self._client.set_registered_model_alias(name, check_alias(alias), str(version))

    def delete_alias(self, name: str, alias: str) -> None:
        """Take `alias` away; nothing happens when no version bears it."""
        if alias in self.aliases(name):
            with self._translated():
                self._client.delete_registered_model_alias(name, alias)

    def set_stage(self, name: str, version: int, stage: str) -> None:
        """Set what MLflow's older UI shows: None, Staging, Production or Archived. Other versions keep theirs."""
        with self._translated(f"{name} version {version}: stage {stage!r}"), quietly():
            self._client.transition_model_version_stage(name, str(version), stage, archive_existing_versions=False)

    def set_tags(self, name: str, version: int, tags: Mapping[str, str]) -> None:
        """Add or replace tags of a version."""
        with self._translated(f"{name} version {version}: tags"):
            for key, value in tags.items():
                self._client.set_model_version_tag(name, str(version), key, value)

    # Artifacts of a version

    def _root(self, version: ModelVersion) -> str:
        from mlflow.store.artifact.runs_artifact_repo import RunsArtifactRepository

        with self._translated(f"{version.name} version {version.version}"):
            uri: str = self._client.get_model_version_download_uri(version.name, str(version.version))
            if RunsArtifactRepository.is_runs_uri(uri):
                uri = RunsArtifactRepository.get_underlying_uri(uri, self.tracking_uri)
        return uri

    def download(self, version: ModelVersion, artifact_path: str, dst: Path) -> Path:
        """Copy a file or directory of the version's artifacts below `dst`; returns where it is.

        `artifact_path` is relative to the version's root; "" is all of it. `dst` is made if missing.
        """
        from mlflow.store.artifact.artifact_repository_registry import get_artifact_repository

        place = f"artifact {artifact_path or '(all)'} of {version.name} version {version.version}"
        root = self._root(version)
        dst.mkdir(parents=True, exist_ok=True)
        with self._translated(place):
            repository = get_artifact_repository(root, tracking_uri=self.tracking_uri)
            parent = _parent(artifact_path)
            existing = [each.path for each in repository.list_artifacts(parent or None)]
            if artifact_path and artifact_path not in existing:
                raise NotFoundError(f"{place} does not exist; there is {_listing(existing)}. Register the run anew.")
            # dst_path always: without it MLflow returns the store's own directory.
            return Path(repository.download_artifacts(artifact_path, dst_path=str(dst)))

    def local_directory(self, version: ModelVersion) -> Path | None:
        """The version's artifacts where they lie on this machine's disk, to be read only; None when elsewhere."""
        from mlflow.utils.file_utils import local_file_uri_to_path

        root = self._root(version)
        if urlsplit(root).scheme not in {"", "file"}:
            return None
        path = Path(local_file_uri_to_path(root))
        return path if path.is_dir() else None

    # Runs

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
                runs = self._client.search_runs(experiments, max_results=_LISTED + 1)
            existing = _listing([run.info.run_id for run in runs])
            raise NotFoundError(
                f"run {run_id!r} does not exist at {without_credentials(self.tracking_uri)}; "
                f"the newest are {existing}. Name one of these, or train one."
            ) from exc

    def read_artifact(self, run_id: str, path: str) -> bytes:
        """The bytes of one file among a run's artifacts."""
        self._run(run_id)
        with self._translated(f"artifact {path} of run {run_id}"), tempfile.TemporaryDirectory() as folder:
            existing = [each.path for each in self._client.list_artifacts(run_id, _parent(path) or None)]
            if path not in existing:
                raise NotFoundError(
                    f"run {run_id} has no artifact {path}; there is {_listing(existing)}. Log it first."
                )
            return Path(self._client.download_artifacts(run_id, path, folder)).read_bytes()

    def log_artifact_bytes(self, run_id: str, path: str, data: bytes) -> None:
        """Store `data` as the file `path` among a run's artifacts, replacing what was there."""
        self._run(run_id)
        with self._translated(f"artifact {path} of run {run_id}"), tempfile.TemporaryDirectory() as folder:
            file = Path(folder, PurePosixPath(path).name)
            file.write_bytes(data)
            self._client.log_artifact(run_id, str(file), _parent(path) or None)


def _from_mlflow(version: Any, aliases: Mapping[str, int]) -> ModelVersion:
    number = int(version.version)
    return ModelVersion(
        name=version.name,
        version=number,
        run_id=version.run_id or "",
        source=version.source,
        stage=version.current_stage or "None",
        aliases=tuple(sorted(alias for alias, of in aliases.items() if of == number)),
        tags=dict(version.tags),
        created_ms=int(version.creation_timestamp),
        description=version.description or "",
        model_id=_logged_model_id(version.source),
    )


def _logged_model_id(source: str) -> str | None:
    match = _LOGGED_MODEL.fullmatch(source)
    return match[1] if match else None


def _parent(path: str) -> str:
    parent = str(PurePosixPath(path).parent)
    return "" if parent == "." else parent


def _listing(names: list[str]) -> str:
    shown = ", ".join(names[:_LISTED])
    return f"{shown}, ..." if len(names) > _LISTED else shown or "none"
