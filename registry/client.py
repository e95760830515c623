"""The only door to MLflow's model registry and to the artifacts of runs and versions."""

import contextlib
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from registry.entities import (
    PRODUCTION,
    SERVING,
    STAGING,
    ModelVersion,
    NewVersion,
    RegisteredModel,
    logged_model_id,
    to_model_version,
    to_registered_model,
)
from registry.mlflow_calls import process_wide, quietly
from registry.runs import LISTED, Runs, listing, parent_of
from slipway.credentials import without_credentials
from slipway.errors import InputError, NotFoundError
from slipway.names import check_alias, check_model_name, check_version

_PAGE = 20  # versions asked for at once: most of those that were changed since the last promotion

__all__ = ["ModelVersion", "NewVersion", "RegisteredModel", "Registry"]


class Registry(Runs):
    """MLflow's registry at one tracking address.

    Every method raises UnavailableError when the address does not answer and NotFoundError, listing what there is,
    for a name, version, alias, run or artifact that does not exist.
    """

    # Registered models

    def model(self, name: str) -> RegisteredModel:
        """One registered model."""
        return self._with_stages(self._model(name))

    def _model(self, name: str) -> Any:
        check_model_name(name)
        try:
            with self._translated():
                return self._client.get_registered_model(name)
        except NotFoundError as exc:
            with self._translated():
                names = [model.name for model in self._client.search_registered_models(max_results=LISTED + 1)]
            raise NotFoundError(
                f"registered model {name!r} does not exist at {without_credentials(self.tracking_uri)}; "
                f"there is {listing(names)}. Register a run first, or pass another --name."
            ) from exc

    def served_models(self, also: Collection[str] = ()) -> tuple[RegisteredModel, ...]:
        """The models with the tag `slipway.serving` = "true", and those of `also` that exist, by name.

        A tagged model whose name none of ours can be (`slipway.names`) is left out: it could be neither published nor
        asked for, and the others are not to fail with it.
        """
        found = []
        token = None
        with self._translated():
            while True:
                page = self._client.search_registered_models(f"tags.`{SERVING}` = 'true'", page_token=token)
                found += [model for model in page if _is_ours(model.name)]
                token = page.token
                if not token:
                    break
        tagged = {model.name for model in found}
        if not any(model.aliases for model in found):  # not every MLflow server has them in a search
            found = [self._model(name) for name in tagged]
        for name in set(also) - tagged:
            with contextlib.suppress(NotFoundError):
                found.append(self._model(name))
        return tuple(sorted(map(self._with_stages, found), key=lambda model: model.name))

    def _with_stages(self, model: Any) -> RegisteredModel:
        """MLflow's model as ours, however many versions are in one stage.

        MLflow names the highest of them. The older UI, unless told otherwise, puts a version beside the one that is in
        the stage, so versions that were changed as late as the highest one are asked for.
        """
        named = [version for version in model.latest_versions if version.current_stage in {PRODUCTION, STAGING}]
        if not named:
            return to_registered_model(model, ())
        changed: list[Any] = []
        token = None
        with self._translated():
            while True:
                page = self._client.search_model_versions(
                    f"name='{model.name}'", _PAGE, ["last_updated_timestamp DESC"], page_token=token
                )
                changed += page
                token = page.token
                last_ms = min(version.last_updated_timestamp or 0 for version in named)
                if not token or (changed[-1].last_updated_timestamp or 0) < last_ms:
                    return to_registered_model(model, [*named, *changed])

    def tag_model(self, name: str, tags: Mapping[str, str]) -> None:
        """Add or replace tags of a registered model."""
        with self._translated(f"{name}: tags"):
            for key, value in tags.items():
                self._client.set_registered_model_tag(name, key, value)

    def describe_model(self, name: str, text: str) -> None:
        """Give a registered model a description, unless it has one."""
        if not self._model(name).description:
            with self._translated(f"{name}: description"):
                self._client.update_registered_model(name, text)

    def aliases(self, name: str) -> Mapping[str, int]:
        """Alias to version number."""
        return {alias: int(number) for alias, number in self._model(name).aliases.items()}

    # Versions

    def versions(self, name: str) -> tuple[ModelVersion, ...]:
        """Every version of `name`, lowest number first."""
        aliases = self.aliases(name)
        found = []
        token = None
        with self._translated():
            while True:
                page = self._client.search_model_versions(f"name='{name}'", page_token=token)
                found += [to_model_version(version, aliases) for version in page]
                token = page.token
                if not token:
                    return tuple(sorted(found, key=lambda version: version.version))

    def versions_tagged(self, tag: str, beginning: str) -> tuple[ModelVersion, ...]:
        """Every version, of whichever model, whose value of `tag` begins so; letters and digits only. By model."""
        assert beginning.isalnum()
        return tuple(self.version(*each) for each in self._found(f"tags.`{tag}` LIKE '{beginning}%'"))

    def versions_of_run(self, run_id: str) -> tuple[tuple[str, int], ...]:
        """Model and number of every version that was registered from a run."""
        assert run_id.isalnum()
        return self._found(f"run_id = '{run_id}'")

    def _found(self, condition: str) -> tuple[tuple[str, int], ...]:
        """Model and number of every version for which a search condition of MLflow's holds, by model."""
        found = []
        token = None
        with self._translated():
            while True:
                page = self._client.search_model_versions(condition, page_token=token)
                found += [(each.name, int(each.version)) for each in page]
                token = page.token
                if not token:
                    return tuple(sorted(found))

    def version(self, name: str, version: int | str) -> ModelVersion:
        """One version by its number."""
        number = check_version(version)
        aliases = self.aliases(name)
        try:
            with self._translated():
                found = self._client.get_model_version(name, str(number))
        except NotFoundError as exc:
            existing = listing([str(each.version) for each in self.versions(name)])
            raise NotFoundError(f"{name} has no version {number}; it has {existing}. Name one of these.") from exc
        return to_model_version(found, aliases)

    def by_alias(self, name: str, alias: str) -> ModelVersion | None:
        """The version that bears `alias`; None when none does."""
        number = self.aliases(name).get(check_alias(alias))
        return None if number is None else self.version(name, number)

    def require_alias(self, name: str, alias: str) -> ModelVersion:
        """The version that bears `alias`; NotFoundError, listing the aliases there are, when none does."""
        found = self.by_alias(name, alias)
        if found is None:
            existing = listing([f"{each} (version {n})" for each, n in self.aliases(name).items()])
            raise NotFoundError(
                f"{name} has no alias {alias!r}; it has {existing}. Promote a version to {alias}, or name a version."
            )
        return found

    def create_version(self, new: NewVersion) -> ModelVersion:
        """Create a version, and first its registered model if that is missing."""
        check_model_name(new.name)
        with self._translated(), quietly(), process_wide(self.tracking_uri):
            model_id = logged_model_id(new.source)
            if model_id is not None:
                self._client.get_logged_model(model_id)  # a server answers a missing one by an internal error
            self._create_registered_model(new.name)
            created = self._client.create_model_version(
                new.name, new.source, new.run_id, dict(new.tags), None, new.description, model_id=model_id
            )
        return to_model_version(created, {})

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

    def delete_tags(self, name: str, version: int, keys: Collection[str]) -> None:
        """Take tags away from a version; those that it does not have are passed over."""
        present = self.version(name, version).tags
        with self._translated(f"{name} version {version}: tags"):
            for key in sorted(set(keys) & set(present)):
                self._client.delete_model_version_tag(name, str(version), key)

    def set_description(self, name: str, version: int, text: str) -> None:
        """Replace the description of a version: Markdown, at most 5,000 characters."""
        with self._translated(f"{name} version {version}: description"):
            self._client.update_model_version(name, str(version), text)

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
            parent = parent_of(artifact_path)
            existing = [each.path for each in repository.list_artifacts(parent or None)]
            if artifact_path and artifact_path not in existing:
                raise NotFoundError(f"{place} does not exist; there is {listing(existing)}. Register the run anew.")
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


def _is_ours(name: str) -> bool:
    try:
        return bool(check_model_name(name))
    except InputError:
        return False
