"""A frozen backbone gives an image the same features in every epoch: computed once, kept on disk, learned from."""

import json
import math
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from pipeline.aside import check_room, written_aside
from pipeline.budget import Budget
from pipeline.epochs import fit_epoch, seed_of_epoch
from pipeline.train import TrainConfig
from slipway.files import sha256_bytes

if TYPE_CHECKING:
    import keras

    from pipeline.data import Dataset, Record

FORMAT = "slipway.features/1"  # another one whenever decoding, resizing or preprocessing changes
_KEPT = 3  # sets of features that stay on disk, the newest
_BATCH = 32
_NO_ROOM = "Pass --head avg, whose features are small, or another --workdir."


def learns_from_features(config: TrainConfig) -> bool:
    """Whether every epoch sees the same features: the backbone is frozen, and images are not moved."""
    return config.freeze_backbone and not config.shift_pixels


class OnFeatures:
    """Learns the head by Keras' `fit` on the frozen backbone's features, batch by batch as it would on the images.

    folder: where features are kept; they are of one split of a dataset, the backbone's weights, the size of the
        network's input and the precision, and found again by these.
    """

    def __init__(
        self,
        config: TrainConfig,
        dataset: "Dataset",
        folder: Path,
        report: Callable[[str], None],
        budget: Budget | None = None,
    ) -> None:
        self._config, self._dataset, self._folder = config, dataset, folder
        self._report, self._budget = report, budget

    def begin(self, network: "keras.Model", first_epoch: int) -> None:
        import keras

        self._first_epoch = first_epoch
        hidden = network.get_layer("hidden")
        backbone = keras.Model(network.input, hidden.input)
        self._head = keras.Model(hidden.input, network.output)
        # The network's own optimizer, over the same variables: a checkpoint of the network has its state.
        self._head.compile(network.optimizer, "categorical_crossentropy", metrics=["accuracy"])
        digest = backbone_digest(network)
        classes, batch = len(self._dataset.labels), self._config.batch_size
        learn = self._features(backbone, digest, "train", first_epoch)
        check = self._features(backbone, digest, "validation", first_epoch)
        self._learn = _Batches(learn, self._dataset.train, classes, batch)
        self._check = _Batches(check, self._dataset.validation, classes, batch)

    def epoch(self, epoch: int) -> dict[str, float]:
        images = len(self._dataset.train)
        self._learn.order = np.random.default_rng(seed_of_epoch(self._config, epoch)).permutation(images)
        budget = self._budget if epoch == self._first_epoch == 0 else None
        learn_and_check = (self._learn.dataset, self._check.dataset)
        return fit_epoch(self._head, learn_and_check, self._config, epoch, images, budget)

    def _features(self, backbone: "keras.Model", digest: str, split: str, epoch: int) -> np.ndarray:
        key = [FORMAT, self._dataset.split_digest(split), digest, self._config.image_size, self._config.precision]
        key += [self._config.network, self._config.head]
        file = self._folder / f"{sha256_bytes(json.dumps(key).encode())[:32]}.npy"
        records = getattr(self._dataset, split)
        if not file.is_file():
            self._compute(backbone, split, file, first=epoch == 0)
            self._report(f"features of {len(records):,} {split} images computed")
            _forget_old(self._folder)
        else:
            file.touch()
            self._report(f"features of {len(records):,} {split} images are there already")
        found: np.ndarray = np.load(file, mmap_mode="r", allow_pickle=False)
        return found

    def _compute(self, backbone: "keras.Model", split: str, file: Path, *, first: bool) -> None:
        """Write the features float32 [images, ...] of a split, in its order: whole, or not at all."""
        from pipeline.data import batches

        records = getattr(self._dataset, split)
        size = (self._config.image_size, self._config.image_size)
        images = batches(records, len(self._dataset.labels), size, _BATCH, None, max_pixels=self._dataset.max_pixels)
        shape = (len(records), *backbone.output_shape[1:])
        with written_aside(self._folder, ".features-") as aside:
            size_bytes = math.prod(shape) * np.dtype(np.float32).itemsize
            check_room(self._folder, size_bytes, f"features of {len(records):,} {split} images", _NO_ROOM)
            rows = np.lib.format.open_memmap(aside / file.name, "w+", np.float32, shape)
            start = 0
            for pixels, _ in images:
                if self._budget is not None and first:
                    self._budget.check_first_epoch()
                found = np.asarray(backbone.predict_on_batch(pixels), np.float32)
                rows[start : start + len(found)] = found
                start += len(found)
            rows.flush()
            (aside / file.name).replace(file)


class _Batches:
    """Features and one-hot classes of a split's images, as `tf.data` gives images.

    order: places in the split, as the next pass over `dataset` takes them; as they are at first.
    dataset: made once, since making it takes as long as a pass over a thousand images' features.
    """

    def __init__(self, features: np.ndarray, records: "Sequence[Record]", classes: int, batch: int) -> None:
        import tensorflow as tf

        self.order = np.arange(len(records))
        self._features, self._batch = features, batch
        self._one_hot = np.eye(classes, dtype=np.float32)[[record.class_id for record in records]]
        shapes = ((None, *features.shape[1:]), (None, classes))
        signature = tuple(tf.TensorSpec(shape, tf.float32) for shape in shapes)
        steps = tf.data.experimental.assert_cardinality(-(-len(records) // batch))
        self.dataset = tf.data.Dataset.from_generator(self._rows, output_signature=signature).apply(steps).prefetch(2)

    def _rows(self) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        order = self.order
        for start in range(0, len(order), self._batch):
            places = order[start : start + self._batch]
            yield np.asarray(self._features[places]), self._one_hot[places]


def backbone_digest(network: "keras.Model") -> str:
    """Hex SHA-256 over the shapes and bytes of the backbone's weights, in their order."""
    weights = network.get_layer("backbone").get_weights()
    parts = [f"{each.dtype} {each.shape} {sha256_bytes(np.ascontiguousarray(each).tobytes())}" for each in weights]
    return sha256_bytes("\n".join(parts).encode())


def _forget_old(folder: Path) -> None:
    """Keep the newest sets alone, of training and validation; who still reads an older one keeps it open."""
    files = sorted(folder.glob("*.npy"), key=lambda file: file.stat().st_mtime_ns, reverse=True)
    for file in files[2 * _KEPT :]:
        file.unlink(missing_ok=True)
