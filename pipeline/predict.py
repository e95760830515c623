"""Classify pictures: by any server, or by a version straight from the registry. One decoder either way."""

import contextlib
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from pipeline.config import Config
from slipway.errors import InputError
from slipway.tensorflow_start import start_tensorflow

if TYPE_CHECKING:
    from registry.client import ModelVersion
    from serving.client import Answer, Prediction


@dataclass(frozen=True)
class Ask:
    """Whom to ask: a server at `address` (for a version, a label, or what is live there), or else the registry."""

    address: str | None = None
    version: int | None = None
    alias: str | None = None
    label: str | None = None


def predict(config: Config, paths: Sequence[Path], ask: Ask) -> "list[Prediction]":
    """Predictions of the images at `paths` (files and folders), in order."""
    from serving.client import collect_images, connect, predict_files

    check_ask(ask)
    files = collect_images(paths)
    if ask.address is None:
        return _by_registry(config, files, ask)
    client = connect(ask.address, config.name, label=ask.label, version=ask.version)
    try:
        return list(predict_files(client, files))
    finally:
        client.close()


def check_ask(ask: Ask) -> None:
    """InputError for choices that exclude each other, or that who is asked does not know."""
    if ask.version is not None and (ask.alias or ask.label):
        raise InputError(f"--version {ask.version} and --{'alias' if ask.alias else 'label'}: expected one of them.")
    if ask.address is None and ask.label is not None:
        raise InputError(f"--label {ask.label}: labels are a server's; name it by --address, or pass --alias.")
    if ask.address is not None and ask.alias is not None:
        raise InputError(
            f"--alias {ask.alias}: a server knows labels, not aliases. Pass --label stable or --version N."
        )


def _by_registry(config: Config, files: Sequence[Path], ask: Ask) -> "list[Prediction]":
    from serving.client import predict_files

    with registered_saved_model(config, ask) as (chosen, saved_model):
        return list(predict_files(_InProcess(chosen, saved_model), files))


@contextlib.contextmanager
def registered_saved_model(config: Config, ask: Ask) -> "Iterator[tuple[ModelVersion, Path]]":
    """The registry's version that is asked, and its verified SavedModel, which is there until the block ends."""
    from pipeline.publication import registered_digest
    from registry.client import Registry
    from serving.servable.verification import verify_bundle

    registry = Registry()
    chosen = (
        registry.version(config.name, ask.version)
        if ask.version is not None
        else registry.require_alias(config.name, ask.alias or "champion")
    )
    with tempfile.TemporaryDirectory(prefix="slipway-predict-") as scratch:
        servable = registry.download(chosen, "servable", Path(scratch))
        verify_bundle(servable, registered_digest(chosen), f"{chosen.name} version {chosen.version}")
        yield chosen, servable / "saved_model"


class _InProcess:
    """A `serving.client.Client` that runs the SavedModel in this process, as the embedded server would."""

    def __init__(self, version: "ModelVersion", saved_model: Path) -> None:
        start_tensorflow()
        from serving.model_server.runtimes.tensorflow import TensorFlowRuntime

        self.name = version.name
        self._version = str(version.version)
        self._runtime = TensorFlowRuntime(saved_model)

    def predict(self, images: Sequence[bytes]) -> "list[Answer]":
        from serving.client import Answer, RejectedError
        from serving.client.answers import INPUT, OUTPUTS, SIGNATURE
        from serving.client.http import one_line
        from serving.model_server.errors import ServingError

        try:
            answers = self._runtime.run(SIGNATURE, {INPUT: np.array(images, dtype=object)}, OUTPUTS)
        except ServingError as error:
            raise RejectedError(one_line(error.message)) from error
        return [
            Answer(label.decode(), int(class_id), tuple(map(float, output)), self._version)
            for output, class_id, label in zip(*(answers[name] for name in OUTPUTS), strict=True)
        ]

    def close(self) -> None:
        self._runtime.close()
