"""The dataset as MLflow records it."""

import json
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, Any

from pipeline.data.listing import is_in_s3
from pipeline.data.splits import SPLITS

if TYPE_CHECKING:
    from mlflow.data.dataset import Dataset as MlflowDataset

    from pipeline.data.dataset import Dataset

_DIGEST_CHARACTERS = 36  # MLflow takes no longer digest


def mlflow_dataset(dataset: "Dataset") -> "MlflowDataset":
    """For `mlflow.log_input`: name, place, sizes, and the first 36 characters of the dataset's digest."""
    from mlflow.data.meta_dataset import MetaDataset
    from mlflow.data.sources import LocalArtifactDatasetSource, S3ArtifactDatasetSource
    from mlflow.types import ColSpec, DataType, Schema

    class ImageDataset(MetaDataset):  # type: ignore[misc]
        @property
        def profile(self) -> dict[str, int]:
            sizes = {split: len(getattr(dataset, split)) for split in SPLITS}
            return sizes | {
                "classes": len(dataset.labels),
                "rotated": dataset.rotated,
                "skipped": len(dataset.skipped),
            }

        def to_dict(self) -> dict[str, Any]:
            return {**super().to_dict(), "profile": json.dumps(self.profile)}

    source = S3ArtifactDatasetSource if is_in_s3(dataset.place) else LocalArtifactDatasetSource
    return ImageDataset(
        source(dataset.place),
        name=PurePosixPath(dataset.place).stem,
        digest=dataset.digest[:_DIGEST_CHARACTERS],
        schema=Schema([ColSpec(DataType.binary, "image"), ColSpec(DataType.string, "label")]),
    )
