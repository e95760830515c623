"""The decoder, against Pillow's reading of the same files."""

import io
import struct
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image

from serving.servable.images import decode, decode_and_resize, decode_batch, decoding_fault

pytestmark = pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")

SMOOTH = 8
"""Largest difference between two JPEG decoders on a smooth picture."""


def picture(width=53, height=37):
    """A smooth RGB picture that differs in every corner, of a width that fills no whole BMP row."""
    x, y = np.meshgrid(np.linspace(0, 255, width), np.linspace(0, 255, height))
    return Image.fromarray(np.stack([x, y, 255 - (x + y) / 2], axis=-1).astype(np.uint8))


def encoded(image, kind, **options):
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def by_pillow(data):
    return np.asarray(Image.open(io.BytesIO(data)).convert("RGB")).astype(int)


def patched(data, offset, form, *values):
    """`data` with `values` packed at `offset`."""
    altered = bytearray(data)
    struct.pack_into(form, altered, offset, *values)
    return bytes(altered)


def ycck(image):
    """A CMYK JPEG whose Adobe segment says YCCK."""
    data = encoded(image.convert("CMYK"), "JPEG", quality=95)
    transform = data.index(b"Adobe") + 11
    assert data[transform] == 0
    return patched(data, transform, "B", 2)


def palette_bmp(bits, compression=0):
    """A BMP of 4 or 8 bits: `by_pillow` reads it; Pillow itself writes no 4-bit ones."""
    rng = np.random.default_rng(bits)
    width, height, colours = 21, 9, 2**bits
    palette = rng.integers(0, 256, (colours, 4), dtype=np.uint8)
    stride = (width * bits + 31) // 32 * 4
    rows = rng.integers(0, 256, (height, stride), dtype=np.uint8).tobytes()
    offset = 54 + palette.size
    file_header = struct.pack("<2sIHHI", b"BM", offset + len(rows), 0, 0, offset)
    info = struct.pack("<IiiHHIIiiII", 40, width, height, 1, bits, compression, len(rows), 0, 0, colours, 0)
    return file_header + info + palette.tobytes() + rows


@pytest.fixture(scope="module")
def run():
    """`decode` as a graph with the default limit; the same function for every test, as a server has it."""
    import tensorflow as tf

    graph = tf.function(decode, input_signature=[tf.TensorSpec([], tf.string)])
    return lambda data: graph(tf.constant(data)).numpy()


def refusal(run, data):
    """The first line of what decoding `data` raises."""
    import tensorflow as tf

    with pytest.raises(tf.errors.InvalidArgumentError) as raised:
        run(data)
    return decoding_fault(raised.value)


EXACT = {
    "png": encoded(picture(), "PNG"),
    "grey png": encoded(picture().convert("L"), "PNG"),
    "grey and alpha png": encoded(picture().convert("LA"), "PNG"),
    "rgba png": encoded(picture().convert("RGBA"), "PNG"),
    "palette png": encoded(picture().convert("P"), "PNG"),
    "palette png with transparency": encoded(picture().convert("P"), "PNG", transparency=3),
    "4-bit palette png": encoded(picture().quantize(16), "PNG", bits=4),
    "1-bit png": encoded(picture().convert("1"), "PNG"),
    "gif": encoded(picture().convert("P"), "GIF"),
    "interlaced gif": encoded(picture().quantize(64), "GIF", interlace=1),
    "gif with transparency": encoded(picture().convert("P"), "GIF", transparency=3),
    "gif with a comment": encoded(picture().convert("P"), "GIF", comment=b"!," * 400),
    "animated gif": encoded(
        picture().convert("P"), "GIF", save_all=True, append_images=[picture().rotate(180).convert("P")]
    ),
    "24-bit bmp": encoded(picture(), "BMP"),
    "24-bit bmp with bytes behind": encoded(picture(), "BMP") + b"\0\0",
    "32-bit bmp": encoded(picture().convert("RGBA"), "BMP"),
    "8-bit grey bmp": encoded(picture().convert("L"), "BMP"),
    "8-bit palette bmp": encoded(picture().quantize(200), "BMP"),
    "8-bit full palette bmp": palette_bmp(8),
    "4-bit palette bmp": palette_bmp(4),
    "1-bit bmp": encoded(picture().convert("1"), "BMP"),
    "top-down bmp": patched(encoded(picture(), "BMP"), 22, "<i", -37),
    "top-down palette bmp": patched(encoded(picture().quantize(200), "BMP"), 22, "<i", -37),
}

NEAR = {
    "jpeg": encoded(picture(), "JPEG", quality=95),
    "progressive jpeg": encoded(picture(), "JPEG", quality=95, progressive=True),
    "grey jpeg": encoded(picture().convert("L"), "JPEG", quality=95),
    "cmyk jpeg": encoded(picture().convert("CMYK"), "JPEG", quality=95),
    "ycck jpeg": ycck(picture()),
}


@pytest.mark.parametrize("kind", EXACT)
def test_a_lossless_image_decodes_to_the_very_pixels(run, kind):
    pixels = run(EXACT[kind])
    assert pixels.dtype == np.uint8
    assert np.array_equal(pixels, by_pillow(EXACT[kind]))


@pytest.mark.parametrize("kind", NEAR)
def test_a_jpeg_decodes_to_nearly_the_same_pixels(run, kind):
    expected = by_pillow(NEAR[kind])
    pixels = run(NEAR[kind])
    assert pixels.shape == expected.shape
    assert np.abs(pixels - expected).max() <= SMOOTH


def test_of_a_16_bit_png_the_upper_8_bits_are_kept(run):
    grey = np.arange(0, 65536, 37, dtype=np.uint16)[: 40 * 40].reshape(40, 40)
    pixels = run(encoded(Image.fromarray(grey), "PNG"))
    assert np.array_equal(pixels, np.repeat((grey >> 8)[:, :, None], 3, axis=2))


def test_exif_rotation_is_ignored(run):
    turned = Image.Exif()
    turned[0x0112] = 6
    plain, rotated = encoded(picture(), "JPEG"), encoded(picture(), "JPEG", exif=turned)
    assert np.array_equal(run(plain), run(rotated))


def test_a_gif_frame_smaller_than_its_canvas_stands_in_its_place_on_black(run):
    data = patched(EXACT["gif"], 6, "<HH", 60, 50)
    frame = data.index(b"\0\0\0\0" + struct.pack("<HH", 53, 37))
    pixels = run(patched(data, frame, "<HH", 4, 5))
    assert pixels.shape == (50, 60, 3)
    assert np.array_equal(pixels[5:42, 4:57], by_pillow(EXACT["gif"]))
    pixels[5:42, 4:57] = 0
    assert not pixels.any()


def test_a_gif_frame_after_the_first_is_not_read(run):
    data = EXACT["animated gif"]
    assert np.array_equal(run(data[: int(len(data) * 0.8)]), by_pillow(EXACT["gif"]))


@pytest.mark.parametrize("kind", [kind for kind in {**EXACT, **NEAR} if kind != "animated gif"])
@pytest.mark.parametrize("part", [0.3, 0.9])
def test_truncated_data_is_refused(run, kind, part):
    data = {**EXACT, **NEAR}[kind]
    if kind.endswith("bytes behind"):
        data = data[:-2]
    fault = refusal(run, data[: int(len(data) * part)])
    assert "truncated" in fault or "no image" in fault


@pytest.mark.parametrize("kind", ["PNG", "GIF", "BMP", "JPEG"])
def test_an_image_over_the_limit_is_refused_by_its_header_alone(run, kind):
    """The data holds 100 bytes of pixels at most: nothing can have been decoded, or allocated for it."""
    small = encoded(picture(16, 16).convert("L"), kind)
    enlarged = {
        "PNG": lambda: patched(small, 16, ">II", 30_000, 30_000),
        "GIF": lambda: patched(small, 6, "<HH", 30_000, 30_000),
        "BMP": lambda: patched(small, 18, "<ii", 30_000, 30_000),
        "JPEG": lambda: patched(small, small.index(b"\xff\xc0") + 5, ">HH", 30_000, 30_000),
    }[kind]()
    assert refusal(run, enlarged) == "image has 900000000 pixels, over the limit of 50000000"


def test_a_gif_frame_over_the_limit_on_a_small_canvas_is_refused(run):
    frame = EXACT["gif"].index(b"\0\0\0\0" + struct.pack("<HH", 53, 37)) + 4
    data = patched(EXACT["gif"], frame, "<HH", 65_535, 65_535)
    assert refusal(run, data) == "image has 4294836225 pixels, over the limit of 50000000"


def test_the_limit_is_the_largest_size_that_passes():
    import tensorflow as tf

    data = tf.constant(EXACT["png"])
    assert decode(data, max_pixels=53 * 37).shape == (37, 53, 3)
    with pytest.raises(tf.errors.InvalidArgumentError, match="image has 1961 pixels, over the limit of 1960"):
        decode(data, max_pixels=53 * 37 - 1)


@pytest.mark.parametrize("data", [b"", b"\xff", b"hello, world", encoded(picture(), "TIFF"), b"<svg/>"])
def test_what_is_no_image_is_refused_with_the_formats_expected(run, data):
    assert refusal(run, data) == f"data of {len(data)} bytes is no image; expected JPEG, PNG, GIF or BMP"


@pytest.mark.parametrize(
    ("data", "fault"),
    [
        (palette_bmp(8, compression=1), "40 bytes, 8 bits a pixel, compression 1; expected 1, 4, 8, 24 or 32 bits"),
        (patched(EXACT["24-bit bmp"], 28, "<H", 16), "16 bits a pixel, compression 0; expected"),
        (patched(EXACT["24-bit bmp"], 28, "<H", 0), "0 bits a pixel, compression 0; expected"),
        (patched(EXACT["24-bit bmp"], 14, "<I", 12), "BMP image with a header of 12 bytes"),
        (patched(EXACT["24-bit bmp"], 18, "<i", 0), "0 pixels wide"),
        (EXACT["gif"][: EXACT["gif"].index(b",\0\0\0\0")] + b";", "GIF data holds no image"),
    ],
)
def test_an_image_of_a_kind_not_read_is_refused_by_what_it_is(run, data, fault):
    assert fault in refusal(run, data)


def test_damaged_headers_are_refused_and_never_crash(run):
    """Every format with each of its first bytes changed decodes or is refused as invalid; nothing else happens."""
    import tensorflow as tf

    faults = []
    for data in (EXACT["png"], EXACT["gif"], EXACT["8-bit palette bmp"], NEAR["jpeg"]):
        for position in range(60):
            for value in (0, 0x7F, 0xFF):
                try:
                    assert run(patched(data, position, "B", value)).shape[2] == 3
                except tf.errors.InvalidArgumentError as error:
                    faults.append(decoding_fault(error))
    assert len(faults) > 100
    assert not [fault for fault in faults if not fault or "\n" in fault or "{{" in fault]


def test_resizing_stretches_the_picture_and_keeps_the_range():
    import tensorflow as tf

    pixels = decode_and_resize(tf.constant(EXACT["png"]), (20, 30)).numpy()
    assert (pixels.shape, pixels.dtype) == ((20, 30, 3), np.float32)
    expected = np.asarray(picture().resize((30, 20), Image.Resampling.BILINEAR, reducing_gap=None))
    assert np.abs(pixels - expected).max() < 8  # Pillow antialiases
    same = decode_and_resize(tf.constant(EXACT["png"]), (37, 53)).numpy()
    assert np.array_equal(same, by_pillow(EXACT["png"]))


def test_a_batch_of_mixed_images_is_each_image_alone():
    import tensorflow as tf

    images = [*EXACT.values(), *NEAR.values()]
    pixels = decode_batch(tf.constant(images), (24, 40)).numpy()
    alone = np.stack([decode_and_resize(tf.constant(image), (24, 40)).numpy() for image in images])
    assert np.array_equal(pixels, alone)


def test_an_empty_batch_has_no_images():
    import tensorflow as tf

    assert decode_batch(tf.constant([], tf.string), (24, 40)).shape == (0, 24, 40, 3)


def test_the_decoder_gives_the_same_pixels_from_a_saved_model_and_in_tf_data(tmp_path):
    import tensorflow as tf

    images = list(EXACT.values())
    module = tf.Module()
    signature = tf.TensorSpec([None], tf.string, name="image_bytes")
    module.run = tf.function(lambda image_bytes: {"pixels": decode_batch(image_bytes, (24, 40))}, [signature])
    tf.saved_model.save(module, str(tmp_path), signatures=module.run)
    served = tf.saved_model.load(str(tmp_path)).signatures["serving_default"](tf.constant(images))["pixels"]
    streamed = tf.data.Dataset.from_tensor_slices(images).map(lambda one: decode_and_resize(one, (24, 40)))
    assert np.array_equal(served.numpy(), np.stack(list(streamed.as_numpy_iterator())))


def test_importing_the_decoder_does_not_import_tensorflow():
    code = "import sys, serving.servable.images; sys.exit('tensorflow' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
