"""What a picture is like, whatever it shows: how bright and how sharp it is.

Measured on the image as the network sees it, at its input size, so that a reference and traffic can be compared.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

_LUMA = np.array([0.299, 0.587, 0.114], np.float32)  # ITU-R BT.601


@dataclass(frozen=True)
class Properties:
    """Of one image."""

    brightness: float  # mean luma, 0 to 255
    sharpness: float  # variance of luma's Laplacian; 0 for an even area, and for an image without an inner pixel


def properties(pixels: npt.NDArray[Any]) -> Properties:
    """The properties of `pixels`, uint8 or float32 [H, W, 3], RGB, 0 to 255."""
    luma = pixels.astype(np.float32, copy=False) @ _LUMA
    inner = luma[1:-1, 1:-1]
    laplacian = luma[:-2, 1:-1] + luma[2:, 1:-1] + luma[1:-1, :-2] + luma[1:-1, 2:] - 4 * inner
    sharpness = float(laplacian.var(dtype=np.float64)) if laplacian.size else 0.0
    return Properties(float(luma.mean(dtype=np.float64)), sharpness)
