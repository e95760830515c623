"""The one image decoder, as operations of a TensorFlow graph: training, `predict` and serving all run it.

JPEG (grey, RGB, CMYK, YCCK), PNG (every colour type and depth), GIF (first frame) and BMP (1, 4, 8, 24, 32 bits)
become RGB. Alpha is dropped, not blended; of 16 bits the upper 8 are kept; EXIF rotation is ignored. An image's size is
read from its header and held against a limit before anything of that size is allocated.
"""

import re
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import tensorflow as tf

MAX_PIXELS = 50_000_000
"""Default limit on an image's height times width: 150 MB once decoded."""

_HEADER_BYTES = 66  # a BMP's headers up to the end of its colour masks, the farthest of the four formats
_LARGEST_SIDE = 2**31 - 1  # so that height times width fits an int64 whatever a header claims


def decode(image_bytes: "tf.Tensor", max_pixels: int = MAX_PIXELS) -> "tf.Tensor":
    """uint8 [H, W, 3], RGB, from one encoded image (a scalar string tensor).

    Running it raises InvalidArgumentError for data in another format, damaged or truncated data, and for an image of
    more than `max_pixels` pixels ("image has 900000000 pixels, over the limit of 50000000").
    """
    import tensorflow as tf

    header = tf.cast(tf.io.decode_raw(image_bytes, tf.uint8, fixed_length=_HEADER_BYTES), tf.int64)
    signatures = tf.stack(
        [
            _starts_with(header, b"\xff\xd8\xff"),
            _starts_with(header, b"\x89PNG\r\n\x1a\n"),
            _starts_with(header, b"GIF8"),
            _starts_with(header, b"BM"),
            tf.constant(value=True),
        ]
    )
    image = tf.switch_case(
        tf.argmax(tf.cast(signatures, tf.int32), output_type=tf.int32),
        [
            lambda: _decode_jpeg(image_bytes, max_pixels),
            lambda: _decode_png(image_bytes, header, max_pixels),
            lambda: _decode_gif(image_bytes, header, max_pixels),
            lambda: _decode_bmp(image_bytes, header, max_pixels),
            lambda: _refuse_format(image_bytes),
        ],
    )
    image.set_shape([None, None, 3])
    return image


def decode_and_resize(image_bytes: "tf.Tensor", size: tuple[int, int], max_pixels: int = MAX_PIXELS) -> "tf.Tensor":
    """float32 [H, W, 3], RGB, 0 to 255, where (H, W) is `size`, from one encoded image (a scalar string tensor).

    The whole picture is stretched to `size`, bilinear, half-pixel centres, without antialiasing; its aspect ratio is
    not kept. Raises as `decode` does.
    """
    return resize(decode(image_bytes, max_pixels), size)


def resize(image: "tf.Tensor", size: tuple[int, int]) -> "tf.Tensor":
    """What `decode_and_resize` makes of a decoded image."""
    import tensorflow as tf

    pixels = tf.image.resize(image, size, method="bilinear", antialias=False)
    return tf.ensure_shape(tf.cast(pixels, tf.float32), (*size, 3))


def decode_batch(image_bytes: "tf.Tensor", size: tuple[int, int], max_pixels: int = MAX_PIXELS) -> "tf.Tensor":
    """float32 [N, H, W, 3], RGB, 0 to 255, from encoded images (string [N]; N may be 0), as `decode_and_resize`."""
    import tensorflow as tf

    return tf.map_fn(
        lambda one: decode_and_resize(one, size, max_pixels),
        image_bytes,
        fn_output_signature=tf.TensorSpec((*size, 3), tf.float32),
    )


def decoding_fault(error: Exception) -> str:
    """What an error of these functions says about the image, in a few words and without the graph's own."""
    text = str(error)
    if refused := re.search(r"assertion failed: \[(.*)\]", text):
        return refused[1]
    before_nodes = re.search(r"^(.*)\n\t \[\[", text, re.MULTILINE)  # a traceback through the graph may come first
    line = before_nodes[1] if before_nodes else text.partition("\n")[0]
    if damaged := re.search(r"\b(JPEG|PNG|GIF)\b", line):
        return f"{damaged[1]} data is damaged or truncated"
    return re.sub(r"\{\{.*?\}\} *", "", line)


def _decode_jpeg(image_bytes: Any, max_pixels: int) -> Any:
    import tensorflow as tf

    shape = tf.cast(tf.io.extract_jpeg_shape(image_bytes), tf.int64)
    with tf.control_dependencies([_limit_pixels(shape[0], shape[1], max_pixels)]):
        return tf.io.decode_jpeg(tf.identity(image_bytes), channels=3)


def _decode_png(image_bytes: Any, header: Any, max_pixels: int) -> Any:
    import tensorflow as tf

    width, height = _big_endian(header[16:20]), _big_endian(header[20:24])
    with tf.control_dependencies([_limit_pixels(height, width, max_pixels)]):
        return tf.io.decode_png(tf.identity(image_bytes), channels=3)


def _decode_gif(image_bytes: Any, header: Any, max_pixels: int) -> Any:
    """The first frame on the canvas, black around it; later frames are cut off undecoded, however large or many."""
    import tensorflow as tf

    # Zeros behind the data end every walk below, so that a truncated file reaches the decoder, which names the fault.
    data = tf.pad(tf.io.decode_raw(image_bytes, tf.uint8), [[0, 2048]])

    def byte(position: Any) -> Any:
        return tf.cast(data[position], tf.int64)

    def colour_table_bytes(flags: Any) -> Any:
        return tf.where(flags >= 128, 3 * tf.bitwise.left_shift(tf.constant(2, tf.int64), flags % 8), 0)

    def after_sub_blocks(position: Any) -> Any:
        (end,) = tf.while_loop(lambda p: byte(p) != 0, lambda p: (p + 1 + byte(p),), (position,))
        return end + 1

    (frame,) = tf.while_loop(  # over the extensions (comments, timing) before the first frame
        lambda p: byte(p) == ord("!"), lambda p: (after_sub_blocks(p + 2),), (13 + colour_table_bytes(header[10]),)
    )
    descriptor = tf.cast(data[frame : frame + 10], tf.int64)
    left, top, width, height = (_little_endian(descriptor[i : i + 2]) for i in (1, 3, 5, 7))
    canvas_width = tf.maximum(_little_endian(header[6:8]), left + width)
    canvas_height = tf.maximum(_little_endian(header[8:10]), top + height)
    has_frame = _require(descriptor[0] == ord(","), ["GIF data holds no image; expected one frame or more"])
    with tf.control_dependencies([has_frame, _limit_pixels(canvas_height, canvas_width, max_pixels)]):
        end = after_sub_blocks(frame + 11 + colour_table_bytes(descriptor[9]))
        before = tf.strings.substr(image_bytes, tf.zeros_like(frame), frame + 1)
        behind = tf.strings.substr(image_bytes, frame + 5, end - frame - 5)
        first = tf.strings.join([before, b"\0\0\0\0", behind, b";"])  # at 0, 0: TensorFlow would crop it by its place
        pixels = tf.io.decode_image(first, channels=3, expand_animations=False)
    return tf.pad(pixels, [[top, canvas_height - top - height], [left, canvas_width - left - width], [0, 0]])


def _decode_bmp(image_bytes: Any, header: Any, max_pixels: int) -> Any:
    """Uncompressed BMPs. TensorFlow's own decoder takes palette indices for grey, and reads no 1 or 4 bits."""
    import tensorflow as tf

    offset, info_bytes, width, signed_height = (_little_endian(header[i : i + 4]) for i in (10, 14, 18, 22))
    signed_height = tf.where(signed_height >= 2**31, signed_height - 2**32, signed_height)  # below 0: rows top-down
    height = tf.abs(signed_height)
    with tf.control_dependencies([_limit_pixels(height, width, max_pixels)]):
        bits, compression = _little_endian(header[28:30]), _little_endian(header[30:34])
    usual_masks = tf.reduce_all(header[54:66] == [0, 0, 255, 0, 0, 255, 0, 0, 255, 0, 0, 0])
    plain = (compression == 0) | ((compression == 3) & (bits == 32) & usual_masks)  # 3: with colour masks
    supported = plain & (info_bytes >= 40) & tf.reduce_any(bits == tf.constant([1, 4, 8, 24, 32], tf.int64))
    kind = ["BMP image with a header of ", info_bytes, " bytes, ", bits, " bits a pixel, compression ", compression]
    stride = (width * bits + 31) // 32 * 4
    size_bytes = tf.cast(tf.strings.length(image_bytes), tf.int64)
    needed_bytes = offset + stride * height
    checks = [
        _require(supported, [*kind, "; expected 1, 4, 8, 24 or 32 bits, uncompressed"]),
        _require((width > 0) & (height > 0), ["BMP image is ", width, " pixels wide and ", height, " high"]),
        _require(needed_bytes <= size_bytes, ["BMP data is truncated: ", size_bytes, " bytes of ", needed_bytes]),
    ]
    with tf.control_dependencies(checks):
        data = tf.io.decode_raw(image_bytes, tf.uint8)
        bits = tf.identity(bits)
    rows = tf.reshape(data[offset:needed_bytes], [height, stride])

    def from_palette() -> Any:
        colours = tf.bitwise.left_shift(tf.constant(1, tf.int64), bits)
        start = 14 + info_bytes
        listed = tf.clip_by_value((offset - start) // 4, 0, colours)  # a file may leave out the last ones
        palette = tf.reshape(data[start : start + 4 * listed], [listed, 4])
        shifts = tf.cast(tf.range(8 - bits, -1, -bits), tf.uint8)  # a byte's leftmost pixel is in its highest bits
        mask = tf.cast(colours - 1, tf.uint8)
        indices = tf.bitwise.bitwise_and(tf.bitwise.right_shift(rows[:, :, tf.newaxis], shifts), mask)
        indices = tf.cast(tf.reshape(indices, [height, -1])[:, :width], tf.int32)
        return tf.gather(tf.pad(palette, [[0, colours - listed], [0, 0]]), indices)[:, :, :3]

    def direct() -> Any:
        return tf.reshape(rows[:, : width * bits // 8], [height, width, bits // 8])[:, :, :3]

    blue_green_red = tf.cond(bits <= 8, from_palette, direct)
    bottom_up = tf.reverse(blue_green_red, axis=[2])
    return tf.cond(signed_height > 0, lambda: tf.reverse(bottom_up, axis=[0]), lambda: bottom_up)


def _refuse_format(image_bytes: Any) -> Any:
    import tensorflow as tf

    refusal = _require(
        tf.constant(value=False),
        ["data of ", tf.strings.length(image_bytes), " bytes is no image; expected JPEG, PNG, GIF or BMP"],
    )
    with tf.control_dependencies([refusal]):
        return tf.zeros([1, 1, 3], tf.uint8)


def _limit_pixels(height: Any, width: Any, max_pixels: int) -> Any:
    import tensorflow as tf

    pixels = tf.minimum(height, _LARGEST_SIDE) * tf.minimum(width, _LARGEST_SIDE)
    return _require(pixels <= max_pixels, ["image has ", pixels, f" pixels, over the limit of {max_pixels}"])


def _require(condition: Any, message: list[Any]) -> Any:
    """An operation that raises InvalidArgumentError with `message` (strings and integer tensors) unless true."""
    import tensorflow as tf

    texts = [part if isinstance(part, str) else tf.strings.as_string(part) for part in message]
    return tf.debugging.Assert(condition, [tf.strings.join(texts)])


def _starts_with(header: Any, signature: bytes) -> Any:
    import tensorflow as tf

    return tf.reduce_all(header[: len(signature)] == tf.constant(list(signature), tf.int64))


def _little_endian(octets: Any) -> Any:
    import tensorflow as tf

    return tf.reduce_sum(octets * tf.constant([256**i for i in range(octets.shape[0] or 2)], tf.int64))


def _big_endian(octets: Any) -> Any:
    return _little_endian(octets[::-1])
