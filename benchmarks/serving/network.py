"""The network that servers are compared with: ResNet50, 224 x 224, average pooling, random weights, and its variants.

`python -m benchmarks.serving.network DIR` publishes it below DIR as `resnet50/1`. Training would change no speed.
"""

import argparse
import shutil
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from benchmarks.serving import payloads
from pipeline.model import NetworkConfig, build_network
from pipeline.optimize.golden import own_golden
from pipeline.optimize.session import Session, Version
from serving.servable.build import Examples, Optimized, Provenance, Servable, build_servable, draw_golden
from serving.servable.golden import LEAST_REQUESTS, save_answers
from serving.servable.graph import write_saved_model
from serving.servable.images import MAX_PIXELS
from serving.servable.layout import EXTRA, LABELS, published_path, variant_path
from serving.servable.variants import VARIANTS, build
from serving.stores import Bundle, open_store
from slipway.tensorflow_start import start_tensorflow

NAME = "resnet50"
CLASSES = [f"class {number}" for number in range(10)]
WANTED = ("openvino-fp32", "openvino-bf16", "openvino-int8", "onnx-fp32")
_SIDE = 224


def publish(base: Path, names: tuple[str, ...] = WANTED) -> Path:
    """Build the servable with the variants `names`, publish it below `base`, and return its version directory."""
    base.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="slipway-network-", dir=base) as scratch:
        servable = build_network_servable(Path(scratch), names)
        bundle = Bundle(servable.manifest_digest, lambda into: Path(shutil.copytree(servable.directory, into / "it")))
        return Path(open_store(str(base)).publish(NAME, 1, bundle).path)


def build_network_servable(folder: Path, names: tuple[str, ...], head: str = "avg") -> Servable:
    """The network's servable with the variants `names`, below `folder`; `head` as in NetworkConfig."""
    start_tensorflow()
    images = photographs(LEAST_REQUESTS)
    network = random_network(images, head)
    examples = Examples(as_files(images, folder / "pictures"))
    optimized = _variants(network, examples, names, images, folder) if names else None
    return build_servable(
        network, CLASSES, examples, Provenance("none", "none", "none"), folder / "servable", optimized=optimized
    )


def random_network(images: npt.NDArray[np.uint8], head: str = "avg") -> Any:
    """The network, its batch normalisation fitted to `images`, uint8 [N, 224, 224, 3], so that activations are usual.

    With untouched moments they die out or grow from layer to layer, and no 8-bit range would fit them.
    """
    import keras

    keras.utils.set_random_seed(1)
    network = build_network(NetworkConfig(head=head, image_size=_SIDE), len(CLASSES))
    norms = [
        layer for layer in network.get_layer("backbone").layers if isinstance(layer, keras.layers.BatchNormalization)
    ]
    for layer in norms:
        layer.momentum = 0.0
    network(images[:16].astype(np.float32), training=True)
    return network


def photographs(count: int) -> npt.NDArray[np.uint8]:
    """Photographs as the network takes them, uint8 [count, 224, 224, 3]; not those that the requests carry.

    Other images than such would fit no 8-bit range: the answers to the requests would be far from the network's.
    """
    files = payloads.photographs(payloads.PHOTOGRAPHS + count)[payloads.PHOTOGRAPHS :]
    return np.stack([payloads.pixels(each).round().astype(np.uint8) for each in files])


def as_files(images: npt.NDArray[np.uint8], folder: Path) -> list[Path]:
    import tensorflow as tf

    folder.mkdir()
    files = [folder / f"{number}.jpg" for number in range(len(images))]
    for file, image in zip(files, images, strict=True):
        file.write_bytes(tf.io.encode_jpeg(image).numpy())
    return files


def _variants(
    network: Any, examples: Examples, names: tuple[str, ...], images: npt.NDArray[np.uint8], folder: Path
) -> Optimized:
    version = Version(folder / "version", (_SIDE, _SIDE), len(CLASSES), MAX_PIXELS)
    write_saved_model(network, CLASSES, version.directory)
    (version.directory / EXTRA).mkdir(parents=True)
    (version.directory / published_path(LABELS)).write_text(f"{CLASSES}".replace("'", '"'), encoding="utf-8")
    golden = draw_golden(network, examples)
    directories, records = {}, {}
    for name in names:
        directory = version.directory / published_path(variant_path(name))
        build(name, version.directory, directory, images)
        with Session(version, name) as session:
            own, records[name] = own_golden(session, golden)
        save_answers(own, directory)
        directories[name] = directory
        print(f"{name}: largest difference to the network {records[name].parity:.1e}")
    return Optimized(golden, directories, records, {})


def main() -> None:
    """Build and publish."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("directory", type=Path, help="base path to publish below")
    parser.add_argument("--variants", nargs="+", default=list(WANTED), choices=list(VARIANTS), metavar="VARIANT")
    arguments = parser.parse_args()
    print(publish(arguments.directory, tuple(arguments.variants)))


if __name__ == "__main__":
    main()
