"""The embedded data: scikit-learn's 1,797 handwritten digits as a folder of PNG files."""

import shutil
import struct
import tempfile
import zlib
from pathlib import Path
from typing import Any


def write_digits(workdir: Path) -> Path:
    """Return `workdir`/digits, a folder per class of 8 x 8 grey PNG files; written once, whole or not at all.

    The files' bytes, and so the dataset's digest, are the same on every machine.
    """
    folder = workdir / "digits"
    if folder.is_dir():
        return folder
    from sklearn.datasets import load_digits

    digits = load_digits()
    pixels = (digits.images * 255 / 16).round().astype("uint8")
    workdir.mkdir(parents=True, exist_ok=True)
    aside = Path(tempfile.mkdtemp(dir=workdir, prefix=".digits-"))
    try:
        for label in sorted(set(digits.target)):
            (aside / str(label)).mkdir()
        for number, (image, label) in enumerate(zip(pixels, digits.target, strict=True)):
            (aside / str(label) / f"{number:04}.png").write_bytes(_grey_png(image))
        aside.chmod(0o755)
        try:
            aside.rename(folder)
        except OSError:
            if not folder.is_dir():  # else another process was first, with the same bytes
                raise
    finally:
        shutil.rmtree(aside, ignore_errors=True)
    return folder


def _grey_png(pixels: Any) -> bytes:
    """A PNG file of `pixels`, uint8 [H, W]. Stored, not compressed: compressed bytes differ between zlib's builds."""
    height, width = pixels.shape
    rows = b"".join(b"\0" + row.tobytes() for row in pixels)
    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    chunks = [(b"IHDR", header), (b"IDAT", zlib.compress(rows, 0)), (b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data)) for kind, data in chunks
    )
