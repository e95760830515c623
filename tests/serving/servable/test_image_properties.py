"""Properties of pictures: known numbers for known pictures, and the direction in which damage moves them."""

import numpy as np
import pytest

from serving.servable.image_properties import properties


def noise(seed=0):
    return np.random.default_rng(seed).integers(0, 256, (32, 24, 3), np.uint8)


def test_brightness_is_the_mean_of_luma():
    assert properties(np.zeros((4, 4, 3), np.uint8)).brightness == 0
    assert properties(np.full((4, 4, 3), 255, np.uint8)).brightness == pytest.approx(255, abs=1e-3)
    red = np.zeros((4, 4, 3), np.float32)
    red[..., 0] = 100
    assert properties(red).brightness == pytest.approx(29.9, abs=1e-4)


def test_an_even_area_has_no_sharpness_and_one_bright_pixel_has():
    assert properties(np.full((8, 8, 3), 77, np.uint8)).sharpness == pytest.approx(0, abs=1e-6)
    point = np.zeros((3, 5, 3), np.uint8)
    point[1, 2] = 10
    # The inner pixels' Laplacian is 10, -40, 10.
    assert properties(point).sharpness == pytest.approx(np.var([10, -40, 10]), rel=1e-5)


def test_whole_numbers_and_floats_have_the_same_properties():
    pixels = noise()
    assert properties(pixels) == properties(pixels.astype(np.float32))


def test_blur_lowers_sharpness_and_darkness_lowers_brightness():
    pixels = noise().astype(np.float32)
    blurred = (pixels[:-1, :-1] + pixels[1:, :-1] + pixels[:-1, 1:] + pixels[1:, 1:]) / 4
    assert properties(blurred).sharpness < properties(pixels).sharpness / 2
    assert properties(pixels * 0.5).brightness == pytest.approx(properties(pixels).brightness / 2, rel=1e-5)


@pytest.mark.parametrize("shape", [(1, 1, 3), (2, 9, 3), (9, 2, 3)])
def test_a_picture_without_an_inner_pixel_is_not_sharp(shape):
    assert properties(np.full(shape, 9, np.uint8)).sharpness == 0
