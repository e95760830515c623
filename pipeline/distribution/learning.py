"""An epoch learned by several workers: each takes its share of a batch, and all apply the same summed gradients.

A loop of our own: Keras' `fit` does not run on a strategy of several workers. Networks and optimizers are plain Keras
objects, each worker with its own copy; sums alone cross between them.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from pipeline.distribution.shares import Share, shares, taken
from pipeline.epochs import seed_of_epoch
from pipeline.progress import step_callback
from pipeline.train import TrainConfig

if TYPE_CHECKING:
    import keras
    import tensorflow as tf

    from pipeline.data import Dataset, Record
    from pipeline.distribution.workers import Workers

_Step = Callable[..., "tf.Tensor"]


@dataclass(frozen=True)
class _Steps:
    """Each returns float32 [3]: the share's sum of losses, its right answers, its images; weight: 0 for none of them.

    learn: of images, classes, weight, and the size of the whole batch. check: of images, classes, and weight.
    """

    learn: _Step
    check: _Step


class Together:
    """A `pipeline.train.Learning` of several workers. The chief's network is everybody's at the beginning."""

    def __init__(self, workers: "Workers", config: TrainConfig, dataset: "Dataset") -> None:
        self._workers, self._config, self._dataset = workers, config, dataset
        self._steps: _Steps | None = None
        self.first_epoch = 0

    def begin(self, network: "keras.Model", first_epoch: int) -> None:
        """Give every worker the chief's weights, optimizer, and `first_epoch`."""
        import tensorflow as tf

        network.optimizer.build(network.trainable_variables)
        self._workers.from_chief([*network.variables, *network.optimizer.variables])
        chiefs = first_epoch if self._workers.place.is_chief else 0
        self.first_epoch = int(self._workers.summed(tf.constant([chiefs], tf.int64))[0][0])
        # Averages of a frozen backbone do not move; summing them would round them again and again.
        self._steps = _steps(network, self._workers, [] if self._config.freeze_backbone else _moving(network))

    def epoch(self, epoch: int) -> dict[str, float]:
        """Learn and check one epoch; the numbers are those of all images, on every worker."""
        import tensorflow as tf

        from pipeline.data import shuffled

        assert self._steps is not None, "begin comes first"
        config, dataset = self._config, self._dataset
        seed = seed_of_epoch(config, epoch)
        progress = step_callback(epoch + 1, config.epochs, -(-len(dataset.train) // config.batch_size))
        learned = tf.zeros(3, tf.float64)
        for number, (of_share, whole) in enumerate(self._shares(shuffled(dataset.train, seed), seed)):
            learned += (sums := tf.cast(self._steps.learn(*of_share, whole), tf.float64))
            progress.on_train_batch_end(number, {"loss": sums[0] / tf.maximum(sums[2], 1.0)})
        checked = tf.zeros(3, tf.float64)
        for of_share, _ in self._shares(dataset.validation, None):
            checked += tf.cast(self._steps.check(*of_share), tf.float64)
        of_all = self._workers.summed(tf.concat([learned, checked], 0))[0].numpy()
        loss, hits, images, val_loss, val_hits, val_images = (float(number) for number in of_all)
        return {
            "accuracy": hits / images,
            "loss": loss / images,
            "val_accuracy": val_hits / val_images,
            "val_loss": val_loss / val_images,
        }

    def _shares(self, records: "Sequence[Record]", shift_seed: int | None) -> Iterator[tuple[tuple[Any, ...], Any]]:
        """This worker's share of each batch, images, classes and weight (0 where it has none); and the batch's size."""
        import tensorflow as tf

        from pipeline.augment import shifted
        from pipeline.data import batches

        config, dataset = self._config, self._dataset
        of = (config.batch_size, self._workers.place.index, self._workers.place.workers)
        parts = shares(len(records), *of)
        size = (config.image_size, config.image_size)
        largest = max(1, parts[0].images)
        own = batches(taken(records, *of), len(dataset.labels), size, largest, None, max_pixels=dataset.max_pixels)
        if shift_seed is not None and config.shift_pixels:
            own = shifted(own, config.shift_pixels, shift_seed, [_place_in_batch(part) for part in parts])
        for part, (images, classes) in zip(parts, own, strict=True):
            yield (images, classes, tf.constant(float(part.images > 0))), tf.constant(float(part.of))


def _place_in_batch(part: Share) -> tuple[int, int]:
    return (part.first if part.images else 0), part.of


def _steps(network: "keras.Model", workers: "Workers", moving: "list[tf.Variable]") -> _Steps:
    import keras
    import tensorflow as tf

    trainable = network.trainable_variables
    shapes = [
        tf.TensorSpec([None, *network.input_shape[1:]]),
        tf.TensorSpec([None, network.output_shape[-1]]),
        tf.TensorSpec([]),
        tf.TensorSpec([]),
    ]

    def sums(probabilities: Any, losses: Any, classes: Any, weight: Any) -> Any:
        right = tf.equal(tf.argmax(probabilities, 1), tf.argmax(classes, 1))
        each = tf.stack([losses, tf.cast(right, tf.float32), tf.ones_like(losses)], 1)
        return tf.reduce_sum(each, 0) * weight

    def computed(images: Any, classes: Any, weight: Any, whole: Any) -> tuple[list[Any], Any]:
        with tf.GradientTape() as tape:
            probabilities = network(images, training=True)
            losses = keras.losses.categorical_crossentropy(classes, probabilities)
            loss = tf.reduce_sum(losses) * weight / whole
        gradients = tape.gradient(loss, trainable)
        part = tf.cast(tf.shape(images)[0], tf.float32) * weight / whole
        averages = [tf.convert_to_tensor(average) * part for average in moving]
        return [*gradients, *averages], sums(probabilities, losses, classes, weight)

    summing = workers.summing(computed)

    @tf.function(input_signature=shapes, autograph=False)  # type: ignore[untyped-decorator]
    def learn(images: Any, classes: Any, weight: Any, whole: Any) -> Any:
        of_all, own = summing(images, classes, weight, whole)
        network.optimizer.apply_gradients(zip(of_all[: len(trainable)], trainable, strict=True))
        for average, value in zip(moving, of_all[len(trainable) :], strict=True):
            average.assign(value)
        return own

    @tf.function(input_signature=shapes[:3], autograph=False)  # type: ignore[untyped-decorator]
    def check(images: Any, classes: Any, weight: Any) -> Any:
        probabilities = network(images, training=False)
        return sums(probabilities, keras.losses.categorical_crossentropy(classes, probabilities), classes, weight)

    return _Steps(learn, check)


def _moving(network: "keras.Model") -> "list[tf.Variable]":
    """Batch normalisation's averages: each worker moves its own by its share, and their mean is everybody's."""
    names = ("moving_mean", "moving_variance")
    return [variable for variable in network.non_trainable_variables if variable.name in names]
