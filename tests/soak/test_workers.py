"""One worker and two: the same curves without batch normalisation, nearly the same accuracy with it; both drawn."""

import pytest

from benchmarks.workers import difference, draw, measured, table
from tests.soak.kept import soak_folder

pytestmark = [pytest.mark.soak, pytest.mark.timeout(14400)]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return soak_folder("workers", tmp_path_factory)


@pytest.fixture(scope="module")
def curves(folder):
    curves = measured(folder)
    print(table(curves))  # noqa: T201 - the table is what a soak is for
    return curves


def test_without_batch_normalisation_two_workers_have_the_curve_of_one(curves):
    """The same global batch over four epochs, each loss within 1e-3 of its size."""
    assert difference(curves, "plain", "loss") < 1e-3
    assert difference(curves, "plain", "val_loss") < 1e-3


def test_resnet50_by_two_workers_is_as_accurate_as_by_one_within_2_points(curves):
    """The quickstart's configuration; each worker normalises by its half of a batch."""
    one, two = (curve.accuracy for curve in curves if curve.network == "resnet50")
    assert abs(one - two) <= 0.02


def test_the_curves_of_one_and_two_workers_are_in_one_picture(curves, folder):
    draw(curves, folder / "workers.png")
    assert (folder / "workers.png").read_bytes().startswith(b"\x89PNG")
