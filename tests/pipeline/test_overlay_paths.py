"""Where `slipway explain` writes its pictures: each to a file of its own, whatever the images are called."""

from pathlib import Path

import pytest

from pipeline.explain import overlay_paths


@pytest.mark.parametrize(
    "files",
    [
        ("x/a.png", "y/a.png", "a-2.png"),
        ("a-2.png", "x/a.png", "y/a.png"),
        ("a.png", "a.jpg", "a-2.png", "a-2.jpg", "b/a-2-2.png", "a.gif"),
    ],
)
def test_no_overlay_takes_the_place_of_another_ones(files, tmp_path):
    paths = overlay_paths([Path(file) for file in files], tmp_path / "seen")
    assert len(set(paths)) == len(files)
    assert {path.parent for path in paths} == {tmp_path / "seen"}


def test_images_of_one_name_are_numbered_in_their_order(tmp_path):
    paths = overlay_paths([Path("x/a.png"), Path("y/a.png"), Path("b.png")], tmp_path)
    assert [path.name for path in paths] == ["a-explained.png", "a-2-explained.png", "b-explained.png"]
