"""The network: pixels in, class probabilities out. Preprocessing is its first layer, so no caller repeats it."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from slipway.errors import InputError

if TYPE_CHECKING:
    import keras

NETWORKS = ("resnet50", "tiny", "plain")
HEADS = ("flatten", "avg")
_IMAGENET_MEAN_BGR = (103.939, 116.779, 123.68)  # He et al. 2015, as in Caffe and keras.applications.resnet50
_SMALLEST_SIDE = 32  # ResNet50 halves the image five times


@dataclass(frozen=True)
class NetworkConfig:
    """What the network is. The defaults are the full configuration: ResNet50, Flatten, Dense(1024), softmax."""

    network: str = "resnet50"
    head: str = "flatten"
    weights: str = "none"  # none, imagenet, or a file: Keras' ResNet50 weights (.h5) or a network of ours (.keras)
    image_size: int = 224  # pixels a side
    freeze_backbone: bool = False
    keep_head: bool = False  # take the head's weights, too, from a network of ours (.keras) with the same classes
    batch_norm_momentum: float = 0.99

    def __post_init__(self) -> None:
        if self.network not in NETWORKS:
            raise InputError(
                f"train.network is {self.network!r}; expected one of {', '.join(NETWORKS)}. Edit it or pass --network."
            )
        if self.head not in HEADS:
            raise InputError(f"train.head is {self.head!r}; expected {' or '.join(HEADS)}. Edit it or pass --head.")
        if self.image_size < _SMALLEST_SIDE:
            raise InputError(
                f"train.image_size is {self.image_size}; expected {_SMALLEST_SIDE} or more pixels a side. "
                "Edit it or pass --image-size."
            )
        if self.keep_head and not self.weights.endswith(".keras"):
            raise InputError(
                f"train.keep_head is true and train.weights is {self.weights!r}; expected a .keras file, which has a "
                "head. Pass --weights FILE or --keep-head false."
            )
        if not 0 < self.batch_norm_momentum < 1:
            raise InputError(
                f"train.batch_norm_momentum is {self.batch_norm_momentum}; expected between 0 and 1. "
                "Edit it or pass --batch-norm-momentum."
            )

    def check_files(self) -> None:
        """Raise InputError unless the weights to start from are there; only training needs them."""
        if self.weights not in ("none", "imagenet") and not Path(self.weights).is_file():
            raise InputError(
                f"train.weights names no file: {self.weights!r}; expected none, imagenet, or an existing .h5 or .keras "
                "file. Edit it or pass --weights."
            )


def build_network(config: NetworkConfig, classes: int) -> "keras.Model":
    """A Keras model from `input` float32 [N, H, W, 3], RGB, 0 to 255, to float32 [N, classes] probabilities."""
    import keras

    pixels = keras.Input((config.image_size, config.image_size, 3), name="input")
    backbone = _BACKBONES[config.network](config)
    for layer in backbone.layers:
        if isinstance(layer, keras.layers.BatchNormalization):
            layer.momentum = config.batch_norm_momentum
    backbone.trainable = not config.freeze_backbone
    bgr = keras.ops.flip(pixels, axis=-1)
    features = backbone(keras.layers.Rescaling(1.0, [-mean for mean in _IMAGENET_MEAN_BGR], name="centre")(bgr))
    pool = keras.layers.Flatten() if config.head == "flatten" else keras.layers.GlobalAveragePooling2D()
    hidden = keras.layers.Dense(1024, activation="relu", name="hidden")(pool(features))
    probabilities = keras.layers.Dense(classes, activation="softmax", dtype="float32", name="output")(hidden)
    network = keras.Model(pixels, probabilities, name=config.network)
    if config.weights.endswith(".keras"):
        _copy_weights(
            Path(config.weights), network, ("backbone", "hidden", "output") if config.keep_head else ("backbone",)
        )
    return network


def _resnet50(config: NetworkConfig) -> "keras.Model":
    import keras

    from_keras = None if config.weights == "none" or config.weights.endswith(".keras") else config.weights
    shape = (config.image_size, config.image_size, 3)
    try:
        return keras.applications.ResNet50(include_top=False, weights=from_keras, input_shape=shape, name="backbone")
    except Exception as error:
        if from_keras is None:
            raise
        raise InputError(
            f"train.weights={config.weights}: Keras could not load these ResNet50 weights ({_first_line(error)}); "
            "expected ImageNet weights in reach, or a file made for ResNet50 without top. Pass --weights none."
        ) from error


def _tiny(config: NetworkConfig) -> "keras.Model":
    """Two convolutions: seconds instead of minutes, for tests of everything around the network."""
    return _two_convolutions(config, normalised=True)


def _plain(config: NetworkConfig) -> "keras.Model":
    """The same without batch normalisation: what it learns of an image does not depend on the images beside it."""
    return _two_convolutions(config, normalised=False)


def _two_convolutions(config: NetworkConfig, *, normalised: bool) -> "keras.Model":
    import keras

    layers = keras.layers
    pixels = keras.Input((config.image_size, config.image_size, 3))
    x = layers.Rescaling(1 / 128)(pixels)
    for filters in (16, 32):
        x = layers.Conv2D(filters, 3, strides=2, padding="same", use_bias=not normalised)(x)
        x = layers.ReLU()(layers.BatchNormalization()(x) if normalised else x)
    return keras.Model(pixels, layers.AveragePooling2D(2)(x), name="backbone")


_BACKBONES = {"resnet50": _resnet50, "tiny": _tiny, "plain": _plain}


def _copy_weights(file: Path, network: "keras.Model", layers: tuple[str, ...]) -> None:
    import keras

    try:
        source: Any = keras.models.load_model(file, compile=False)
        for layer in layers:
            network.get_layer(layer).set_weights(source.get_layer(layer).get_weights())
    except ValueError as error:
        part = "weights do" if len(layers) > 1 else "backbone does"
        raise InputError(
            f"train.weights={file}: its {part} not fit this network ({_first_line(error)}); "
            "expected a model.keras that was trained with the same --network."
        ) from error


def _first_line(error: BaseException) -> str:
    return str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
