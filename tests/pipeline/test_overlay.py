"""A heat map over a picture: what it hides, and what it costs for a photo; pictures that only their version limits."""

import io
import tracemalloc
import zlib

import numpy as np
import pytest
from PIL import Image

from pipeline import explain
from pipeline.overlay import overlay
from serving.client import Answer
from serving.client.explaining import Explanation
from serving.servable.images import MAX_PIXELS
from slipway.errors import InputError

HEAT = np.array([[0, 1], [0, 0]], np.float32)


def answered(_image):
    return Explanation(Answer("ant", 0, (1.0,), "3"), HEAT)


def png(height, width):
    """A grey picture of any size, in a few bytes."""

    def chunk(kind, data):
        return len(data).to_bytes(4) + kind + data + zlib.crc32(kind + data).to_bytes(4)

    header = width.to_bytes(4) + height.to_bytes(4) + b"\x08\x00\x00\x00\x00"
    rows = zlib.compress(bytes((width + 1) * height), 1)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", rows) + chunk(b"IEND", b"")


@pytest.mark.parametrize("kind", [np.uint8, np.float32])
def test_what_is_cold_is_the_picture_and_what_is_hot_is_hidden(kind):
    picture = np.full((40, 60, 3), 100, kind)
    found = np.asarray(overlay(picture, HEAT))
    assert found.shape == picture.shape
    np.testing.assert_array_equal(found[30:, :20], picture[30:, :20])
    hot = 0.3 * 100 + 0.7 * np.array([252, 255, 164])  # the colour map's brightest
    np.testing.assert_allclose(found[0, -1], hot, atol=2)


def test_a_photo_takes_no_arrays_many_times_its_size():
    picture = np.zeros((1500, 2000, 3), np.uint8)
    overlay(picture[:8, :8], HEAT)  # imports
    tracemalloc.start()
    overlay(picture, HEAT)
    peak_bytes = tracemalloc.get_traced_memory()[1]  # of numpy's arrays; Pillow has a few pictures of bytes beside them
    tracemalloc.stop()
    assert peak_bytes < 2 * picture.nbytes


def test_a_picture_that_its_version_answered_is_not_too_large_for_the_overlay(tmp_path, monkeypatch):
    large, drawn = tmp_path / "large.png", []
    large.write_bytes(png(7100, 7100))
    monkeypatch.setattr(explain, "overlay", lambda pixels, _heat: drawn.append(pixels.shape) or Image.new("L", (1, 1)))
    found = explain._explain(large, tmp_path / "seen.png", "m", answered)
    assert MAX_PIXELS < 7100 * 7100
    assert (drawn, found.version) == ([(7100, 7100, 3)], "3")


def test_a_picture_that_only_the_version_could_read_is_named(tmp_path):
    file, buffer = tmp_path / "half.png", io.BytesIO()
    Image.new("RGB", (60, 60), (9, 8, 7)).save(buffer, "PNG")
    file.write_bytes(buffer.getvalue()[:60])
    with pytest.raises(InputError, match=r"half\.png: PNG data is damaged .*Leave it out or mend it"):
        explain._explain(file, tmp_path / "seen.png", "m", answered)
