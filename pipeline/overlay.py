"""A heat map laid over its picture."""

from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    from PIL.Image import Image

_COVER = 0.7  # how much of the picture the hottest place hides


def overlay(pixels: npt.NDArray[Any], heat_map: npt.NDArray[np.float32]) -> "Image":
    """RGB, of the size of `pixels` [H, W, 3], RGB, 0 to 255, under `heat_map` [h, w], 0 to 1, stretched to it."""
    from matplotlib import colormaps
    from PIL import Image

    picture = pixels if pixels.dtype == np.uint8 else np.rint(pixels).clip(0, 255).astype(np.uint8)
    laid_over = Image.fromarray(picture)
    # Coloured while it is small, and of bytes: a photo has tens of millions of pixels, for which floats take gigabytes.
    heat = np.clip(heat_map, 0, 1)
    colours = Image.fromarray(colormaps["inferno"](heat, bytes=True)[..., :3])
    cover = Image.fromarray(np.rint(255 * _COVER * heat).astype(np.uint8))
    size, bilinear = laid_over.size, Image.Resampling.BILINEAR
    laid_over.paste(colours.resize(size, bilinear), mask=cover.resize(size, bilinear))
    return laid_over
