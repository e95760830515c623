"""Classify pictures: by any server, or by a version straight from the registry. One decoder either way."""

import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

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

    files = collect_images(paths)
    if ask.address is None:
        return _by_registry(config, files, ask)
    if ask.alias is not None:
        raise InputError(
            f"--alias {ask.alias}: a server knows labels, not aliases. Pass --label stable or --version N."
        )
    client = connect(ask.address, config.name, label=ask.label, version=ask.version)
    try:
        return list(predict_files(client, files))
    finally:
        client.close()


def _by_registry(config: Config, files: Sequence[Path], ask: Ask) -> "list[Prediction]":
    from pipeline.publication import registered_digest
    from registry.client import Registry
    from serving.client import predict_files
    from serving.servable.manifest import verify_bundle

    registry = Registry()
    chosen = (
        registry.version(config.name, ask.version)
        if ask.version is not None
        else registry.require_alias(config.name, ask.alias or "champion")
    )
    with tempfile.TemporaryDirectory(prefix="slipway-predict-") as scratch:
        servable = registry.download(chosen, "servable", Path(scratch))
        verify_bundle(servable, registered_digest(chosen), f"{chosen.name} version {chosen.version}")
        return list(predict_files(_InProcess(chosen, servable / "saved_model"), files))


class _InProcess:
    """A `serving.client.Client` that runs the SavedModel in this process."""

    def __init__(self, version: "ModelVersion", saved_model: Path) -> None:
        tf = start_tensorflow()
        self.name = version.name
        self._version = str(version.version)
        self._loaded: Any = tf.saved_model.load(str(saved_model))

    def predict(self, images: Sequence[bytes]) -> "list[Answer]":
        import tensorflow as tf

        from serving.client import Answer, RejectedError

        try:
            answer = self._loaded.signatures["serving_bytes"](image_bytes=tf.constant(list(images)))
        except tf.errors.InvalidArgumentError as error:
            raise RejectedError(str(error.message).splitlines()[0]) from error
        output, class_id, label = (np.asarray(answer[name]) for name in ("output", "class_id", "label"))
        return [
            Answer(label[i].decode(), int(class_id[i]), tuple(map(float, output[i])), self._version)
            for i in range(len(images))
        ]

    def close(self) -> None:
        del self._loaded
