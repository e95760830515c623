"""One epoch after the other, by Keras' `fit` in this process."""

from typing import TYPE_CHECKING, Any

from pipeline.budget import Budget
from pipeline.progress import step_callback
from pipeline.train import TrainConfig

if TYPE_CHECKING:
    import keras

    from pipeline.data import Dataset


class Alone:
    """`Learning` from the images themselves."""

    def __init__(self, config: TrainConfig, dataset: "Dataset", budget: Budget | None = None) -> None:
        self._config, self._dataset, self._budget = config, dataset, budget

    def begin(self, network: "keras.Model", first_epoch: int) -> None:
        self._network, self._first_epoch = network, first_epoch

    def epoch(self, epoch: int) -> dict[str, float]:
        learn, check = epoch_of_images(self._config, self._dataset, epoch)
        budget = self._budget if epoch == self._first_epoch == 0 else None
        return fit_epoch(self._network, (learn, check), self._config, epoch, len(self._dataset.train), budget)


def epoch_of_images(config: TrainConfig, dataset: "Dataset", epoch: int) -> tuple[Any, Any]:
    """The batches that an epoch learns from, and those that it is watched on."""
    from pipeline.augment import shifted
    from pipeline.data import batches

    classes = len(dataset.labels)
    shuffle_seed = seed_of_epoch(config, epoch)
    size = (config.image_size, config.image_size)
    learn = batches(dataset.train, classes, size, config.batch_size, shuffle_seed, max_pixels=dataset.max_pixels)
    if pixels := config.shift_pixels:
        learn = shifted(learn, pixels, shuffle_seed)
    return learn, batches(dataset.validation, classes, size, config.batch_size, None, max_pixels=dataset.max_pixels)


def fit_epoch(
    network: "keras.Model",
    learn_and_check: tuple[Any, Any],
    config: TrainConfig,
    epoch: int,
    images: int,
    budget: Budget | None = None,
) -> dict[str, float]:
    """Learn one epoch of so many training images by Keras' `fit`; loss and accuracy of training and validation."""
    import keras

    learn, check = learn_and_check
    callbacks = [step_callback(epoch + 1, config.epochs, -(-images // config.batch_size))]
    if budget is not None:
        callbacks.append(keras.callbacks.LambdaCallback(on_train_batch_end=lambda *_, **__: budget.check_first_epoch()))
    history = network.fit(
        learn,
        validation_data=check,
        initial_epoch=epoch,
        epochs=epoch + 1,
        verbose=0,
        shuffle=False,
        callbacks=callbacks,
    ).history
    return {key: float(values[-1]) for key, values in history.items()}


def seed_of_epoch(config: TrainConfig, epoch: int) -> int:
    """Order and shifts of an epoch depend on seed and epoch alone: a resumed run sees the batches it would have."""
    return (config.seed * 1_000_003 + epoch) % 2**31
