"""A heat map laid over its picture."""

from typing import Any

import numpy as np
import numpy.typing as npt

_COVER = 0.7  # how much of the picture the hottest place hides


def overlay(pixels: npt.NDArray[Any], heat_map: npt.NDArray[np.float32]) -> npt.NDArray[np.uint8]:
    """uint8 [H, W, 3]: `pixels` [H, W, 3], RGB, 0 to 255, under `heat_map` [h, w], 0 to 1, stretched to its size."""
    from matplotlib import colormaps
    from PIL import Image

    height, width = pixels.shape[:2]
    stretched = Image.fromarray(heat_map.astype(np.float32)).resize((width, height), Image.Resampling.BILINEAR)
    heat = np.clip(np.asarray(stretched, np.float32), 0, 1)[..., np.newaxis]
    colours = np.asarray(colormaps["inferno"](heat[..., 0]), np.float32)[..., :3] * 255
    laid_over = np.rint((1 - _COVER * heat) * pixels + _COVER * heat * colours)
    return np.asarray(laid_over.clip(0, 255), np.uint8)
