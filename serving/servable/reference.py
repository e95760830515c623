"""Reference statistics: what the network made of held-out images, for traffic to be compared with.

A servable carries them in its folder `reference/`, sealed as all of it is.
"""

import json
import zipfile
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from serving.servable.layout import STATISTICS
from slipway.errors import InputError, IntegrityError

MOST_IMAGES = 1000
FORMAT = "slipway.reference/1"
_ARRAYS, _FACTS = "reference.npz", "reference.json"
_SIZES = {"embeddings": 2, "probabilities": 2}  # dimensions; all others have one
_FLOATS = {"embeddings", "probabilities", "brightness", "sharpness"}


@dataclass(frozen=True, eq=False)  # arrays do not compare to a bool
class Reference:
    """Of n held-out images, in the same order. InputError for arrays of other shapes or dtypes, or of no image.

    split_digest: of the test split that they were drawn from.
    """

    embeddings: npt.NDArray[np.float32]  # [n, d], what `serving_embed` gives
    probabilities: npt.NDArray[np.float32]  # [n, classes]
    class_id: npt.NDArray[np.int32]  # [n], predicted
    true_class: npt.NDArray[np.int32]  # [n]
    brightness: npt.NDArray[np.float32]  # [n], at the network's input size, as is the sharpness
    sharpness: npt.NDArray[np.float32]  # [n]
    width: npt.NDArray[np.int32]  # [n], of the file, as is the height
    height: npt.NDArray[np.int32]  # [n]
    split_digest: str

    def __post_init__(self) -> None:
        count = len(self.class_id)
        for name in _names():
            array = getattr(self, name)
            dtype = np.float32 if name in _FLOATS else np.int32
            if not count or array.dtype != dtype or array.ndim != _SIZES.get(name, 1) or len(array) != count:
                raise InputError(
                    f"reference: {name} is {array.dtype} {list(array.shape)}; expected {np.dtype(dtype)} of "
                    f"{_SIZES.get(name, 1)} dimensions, one row for each of {max(count, 1)} images."
                )

    def __len__(self) -> int:
        return len(self.class_id)

    @property
    def accuracy(self) -> float:
        """Share of the images whose predicted class is the true one."""
        return float((self.class_id == self.true_class).mean())


def save_reference(reference: Reference, bundle: Path) -> None:
    """Write the folder `reference/` of a bundle; the same statistics always give the same bytes."""
    directory = bundle / STATISTICS
    directory.mkdir(parents=True, exist_ok=True)
    arrays = {name: getattr(reference, name) for name in _names()}
    np.savez(directory / _ARRAYS, allow_pickle=False, **arrays)
    facts = {
        "format": FORMAT,
        "images": len(reference),
        "accuracy": reference.accuracy,
        "split_digest": reference.split_digest,
    }
    (directory / _FACTS).write_text(json.dumps(facts, sort_keys=True, indent=1) + "\n", encoding="utf-8")


def load_reference(directory: Path) -> Reference:
    """Read the folder `reference/` that `save_reference` wrote.

    InputError if there is none, as in a servable from before they were made; IntegrityError if it cannot be read.
    """
    if not (directory / _FACTS).exists():
        raise InputError(
            f"{directory}: has no {_FACTS}; expected a servable's reference statistics, which older servables do not "
            "have. Register a new version of the network: slipway register."
        )
    try:
        return _read(directory)
    except (OSError, ValueError, KeyError, TypeError, EOFError, zipfile.BadZipFile, InputError) as error:
        raise IntegrityError(
            f"{directory}: cannot be read as reference statistics ({' '.join(str(error).split())}); expected the files "
            "that the servable was sealed with. Fetch the servable again."
        ) from error


def _read(directory: Path) -> Reference:
    facts = json.loads((directory / _FACTS).read_bytes())
    if facts["format"] != FORMAT:
        raise ValueError(f"format {facts['format']!r} is not {FORMAT!r}")
    with np.load(directory / _ARRAYS, allow_pickle=False) as arrays:
        found: dict[str, Any] = {name: arrays[name] for name in _names()}
    return Reference(**found, split_digest=str(facts["split_digest"]))


def _names() -> list[str]:
    return [item.name for item in fields(Reference) if item.name != "split_digest"]
