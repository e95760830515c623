"""What is worked out of a request's images, when there is time."""

import hashlib
import io
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from serving.prediction_log.rules import DIGEST
from serving.servable.image_properties import properties
from serving.servable.images import MAX_PIXELS
from slipway.errors import InputError

if TYPE_CHECKING:
    from serving.wire.meta_graph_pb2 import SignatureDef

ENCODED, ARRAY = "image_bytes", "input"  # the servable's inputs: files, or float [N, H, W, 3]
EMBED_SIGNATURES = {ENCODED: "serving_embed", ARRAY: "serving_embed_pixels"}


def images_of(inputs: Mapping[str, npt.NDArray[Any]] | None) -> tuple[str, Any]:
    """The name of the input that holds images, and each of them; "" and none where there are no images."""
    for name, rows in (inputs or {}).items():
        if name == ENCODED and rows.dtype == object and rows.ndim == 1:
            return name, rows
        if name == ARRAY and rows.ndim == 4 and rows.shape[3] == 3:
            return name, rows
    return "", ()


def network_size(signatures: "Mapping[str, SignatureDef]") -> tuple[int, int] | None:
    """Height and width of what the network sees; None if its signatures do not say."""
    signature = signatures.get("serving_default")
    if signature is None or ARRAY not in signature.inputs:
        return None
    sizes = [dim.size for dim in signature.inputs[ARRAY].tensor_shape.dim]
    return (sizes[1], sizes[2]) if len(sizes) == 4 and min(sizes[1:3]) > 0 else None


def seen_properties(image: Any, size: tuple[int, int] | None) -> dict[str, Any]:
    """How bright and sharp the network sees it, and a file's size as it was sent; nothing if it is no image.

    An array says nothing of the file that it was made of.
    """
    if isinstance(image, np.ndarray):
        return _look(image)
    from serving.servable.decoding import decode
    from serving.servable.resizing import resize

    try:
        pixels = decode(bytes(image), MAX_PIXELS)
    except InputError:  # of a model of other make, which takes other files
        return {}
    height, width = pixels.shape[:2]
    return {**_look(pixels if size is None else resize(pixels, size)), "width": width, "height": height}


def kept_input(image: Any, kept: str) -> dict[str, Any]:
    """What is kept of an image itself: its digest, or a file that shows it; one that was sent, as it was."""
    if kept == DIGEST:
        data = np.ascontiguousarray(image).data if isinstance(image, np.ndarray) else bytes(image)
        return {"input_digest": hashlib.blake2b(data, digest_size=16).hexdigest()}
    return {"pixels": _png(image) if isinstance(image, np.ndarray) else bytes(image)}


def _look(seen: npt.NDArray[Any]) -> dict[str, Any]:
    found = properties(seen)
    return {"brightness": found.brightness, "sharpness": found.sharpness}


def _png(pixels: npt.NDArray[Any]) -> bytes:
    from PIL import Image

    file = io.BytesIO()
    Image.fromarray(np.clip(np.rint(pixels), 0, 255).astype(np.uint8)).save(file, "PNG")
    return file.getvalue()
