"""Finding image files."""

from pathlib import Path

import pytest

from serving.client import collect_images
from slipway.errors import InputError


def touch(*files: Path) -> None:
    for file in files:
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(b"x")


def test_a_folder_gives_its_images_at_any_depth_in_order(tmp_path):
    """Suffixes decide, in either case; hidden files and other files are left."""
    names = ["b/2.JPG", "b/1.png", "a.jpeg", "c/d/e.gif", "f.bmp"]
    touch(*(tmp_path / name for name in [*names, "notes.txt", ".hidden.png", ".cache/x.png", "Thumbs.db"]))
    assert collect_images([tmp_path]) == [tmp_path / name for name in sorted(names)]


def test_a_named_file_is_taken_whatever_its_name(tmp_path):
    """Whether it is an image is the server's decision."""
    touch(tmp_path / "picture")
    assert collect_images([tmp_path / "picture"]) == [tmp_path / "picture"]


def test_a_file_named_twice_is_asked_once(tmp_path):
    """A file and the folder that holds it give it once, where it was named first."""
    touch(tmp_path / "a.png", tmp_path / "b.png")
    assert collect_images([tmp_path / "b.png", tmp_path]) == [tmp_path / "b.png", tmp_path / "a.png"]


def test_every_missing_path_is_named(tmp_path):
    """All are listed at once, also a name that no file can have."""
    with pytest.raises(InputError, match=r"no such file or folder: .*one\.png, .*two, x+; expected"):
        collect_images([tmp_path / "one.png", tmp_path / "two", Path("x" * 300)])


def test_a_folder_without_images_is_an_error(tmp_path):
    """An empty result is never silent."""
    touch(tmp_path / "notes.txt")
    with pytest.raises(InputError, match=r"no image in it; expected files ending in \.jpg"):
        collect_images([tmp_path])
