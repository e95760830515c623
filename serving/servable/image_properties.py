"""How bright and how sharp a picture is: what tells a lamp that failed, or a lens that is out of focus."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

_LUMA = np.array([0.299, 0.587, 0.114], np.float32)  # Rec. 601


@dataclass(frozen=True)
class Properties:
    """brightness: the mean of the luma, 0 to 255. sharpness: the variance of its 4-neighbour Laplacian."""

    brightness: float
    sharpness: float


def properties(pixels: npt.NDArray[Any]) -> Properties:
    """Of float32 or uint8 [H, W, 3], RGB, 0 to 255, as the network sees it; no sharpness below 3 x 3 pixels."""
    luma = np.asarray(pixels, np.float32) @ _LUMA
    inner = luma[1:-1, 1:-1]
    laplacian = luma[:-2, 1:-1] + luma[2:, 1:-1] + luma[1:-1, :-2] + luma[1:-1, 2:] - 4 * inner
    return Properties(float(luma.mean()), float(laplacian.var()) if laplacian.size else 0.0)
