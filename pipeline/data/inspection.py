"""Every image opened once before training: its digest, whether the decoder takes it, whether it wants to be rotated."""

import os
import stat
import sys
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from pipeline.data.listing import Candidate
from slipway.files import sha256_bytes
from slipway.tensorflow_start import start_tensorflow

_EXIF_ORIENTATION = 0x0112
_UPRIGHT = 1


@dataclass(frozen=True)
class Inspection:
    """What one file turned out to be. `fault` is None if the image can be used; only then is the rest filled in."""

    fault: str | None
    sha256: str = ""
    rotated: bool = False


def inspect(candidates: Sequence[Candidate], max_pixels: int) -> list[Inspection]:
    """Read and decode every candidate, in parallel, holding as many images at a time as there are processors.

    Shows progress on standard error.
    """
    import click

    decode_fault = _decoder(max_pixels)
    pool = ThreadPoolExecutor(os.cpu_count())
    try:
        results = pool.map(lambda candidate: _inspect(candidate.file, max_pixels, decode_fault), candidates)
        with click.progressbar(
            results,
            length=len(candidates),
            label=f"checking {len(candidates):,} images",
            file=sys.stderr,
            update_min_steps=max(1, len(candidates) // 200),
        ) as inspections:
            return list(inspections)
    finally:
        pool.shutdown(cancel_futures=True)  # else Ctrl-C would wait for every image


@cache  # traced once a process
def _decoder(max_pixels: int) -> Callable[[bytes], str | None]:
    start_tensorflow()
    import tensorflow as tf

    from serving.servable.images import decode, decoding_fault

    @tf.function(input_signature=[tf.TensorSpec([], tf.string)])  # type: ignore[untyped-decorator]
    def size(image_bytes: tf.Tensor) -> tf.Tensor:
        return tf.shape(decode(image_bytes, max_pixels))

    def decode_fault(data: bytes) -> str | None:
        try:
            size(tf.constant(data))
        except tf.errors.OpError as error:
            return decoding_fault(error)
        return None

    return decode_fault


def _inspect(file: Path, max_pixels: int, decode_fault: Callable[[bytes], str | None]) -> Inspection:
    try:
        data = _read(file, largest_bytes=8 * max_pixels + 2**20)  # 16-bit RGBA, uncompressed, and what surrounds it
    except FileNotFoundError:
        return Inspection("does not exist; expected an image.")
    except OSError as error:
        return Inspection(f"{error.strerror or error}; expected an image that can be read.")
    if fault := decode_fault(data):
        return Inspection(f"{fault}.")
    return Inspection(None, sha256_bytes(data), _is_rotated(data))


def _read(file: Path, largest_bytes: int) -> bytes:
    status = file.stat()
    if not stat.S_ISREG(status.st_mode):
        raise OSError("is no file")
    if status.st_size > largest_bytes:
        raise OSError(f"has {status.st_size} bytes, more than any image within the limit on pixels")
    return file.read_bytes()


def _is_rotated(data: bytes) -> bool:
    """Whether EXIF asks viewers to turn or mirror the image. Reads headers only."""
    from io import BytesIO

    from PIL import Image

    Image.MAX_IMAGE_PIXELS = None  # the decoder's limit has held already, and may be set higher than Pillow's
    try:
        with Image.open(BytesIO(data)) as image:
            return int(image.getexif().get(_EXIF_ORIENTATION, _UPRIGHT)) not in (0, _UPRIGHT)
    except (OSError, ValueError, TypeError, SyntaxError):
        return False  # the decoder took the image; Pillow, which only counts rotations, need not
