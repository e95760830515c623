"""Images that are kept apart: left out of every split by their content, and taken as a whole to be judged on."""

import shutil

import pytest

from pipeline import lifecycle
from pipeline.config import load_config
from pipeline.data.apart import whole_set
from slipway.errors import InputError
from tests.pipeline.test_data import every_record, folder, image_bytes, load, refusal, write  # noqa: F401 - a fixture


def kept_apart(root, *names):
    """A folder with copies of some images, each under another name."""
    apart = root.parent / "apart"
    for number, name in enumerate(names):
        label = name.split("/")[0]
        (apart / label).mkdir(parents=True, exist_ok=True)
        shutil.copy(root / name, apart / label / f"renamed-{number}.{name.rpartition('.')[2]}")
    return apart


def test_excluded_images_are_in_no_split_under_whatever_name(folder):  # noqa: F811
    whole = load(folder)
    apart = kept_apart(folder, "cat/00.jpg", "dog/11.bmp")
    rest = load(folder, excluded=str(apart))
    assert {record.path for record in every_record(whole)} - {record.path for record in every_record(rest)} == {
        "cat/00.jpg",
        "dog/11.bmp",
    }
    assert rest.excluded == 2
    assert "left out because they are excluded: 2" in rest.summary()


def test_the_digest_is_of_what_is_left_and_the_source_keeps_its_own(folder):  # noqa: F811
    whole = load(folder)
    rest = load(folder, excluded=str(kept_apart(folder, "cat/00.jpg")))
    assert rest.digest != whole.digest == whole.source_digest == rest.source_digest


def test_when_everything_is_excluded_that_is_said(folder):  # noqa: F811
    line, *_ = refusal(folder, excluded=str(folder))
    assert "every one of its 20 images is excluded" in line
    assert "--excluded" in line


def test_a_set_that_is_not_there_is_not_taken_for_an_empty_one(folder):  # noqa: F811
    line, *_ = refusal(folder, excluded=str(folder.parent / "gone"))
    assert "gone" in line


def test_a_set_without_images_may_be_a_mount_that_is_away_and_is_refused(folder):  # noqa: F811
    (folder.parent / "mount").mkdir()
    line, *_ = refusal(folder, excluded=str(folder.parent / "mount"))
    assert "data.excluded: " in line
    assert "has no images" in line
    assert "--excluded" in line


def test_a_whole_set_is_all_of_a_source_in_the_classes_of_a_network(folder):  # noqa: F811
    apart = kept_apart(folder, "dog/11.bmp", "dog/12.jpg")
    found = whole_set(str(apart), ("bird", "cat", "dog"), folder.parent / "work", 10_000)
    assert [record.class_id for record in found.test] == [2, 2]
    assert not found.train + found.validation


def test_a_whole_set_takes_neither_another_class_nor_a_broken_image_nor_nothing(folder, tmp_path):  # noqa: F811
    with pytest.raises(InputError, match="images of the class 'dog'; expected images of bird, cat"):
        whole_set(str(folder), ("bird", "cat"), tmp_path, 10_000)
    write(folder, "cat/broken.png", image_bytes(0)[:40])
    with pytest.raises(InputError, match=r"broken\.png"):
        whole_set(str(folder), ("cat", "dog"), tmp_path, 10_000)
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match="has no images"):
        whole_set(str(tmp_path / "empty"), ("cat", "dog"), tmp_path, 10_000)


def test_no_step_sees_the_regression_set_or_what_is_excluded_beside_it(folder, capsys):  # noqa: F811
    apart = kept_apart(folder, "cat/00.jpg")
    excluded = shutil.move(apart, folder.parent / "excluded")
    regression = kept_apart(folder, "dog/11.bmp")
    config = load_config(
        overrides={
            "data.source": str(folder),
            "data.excluded": str(excluded),
            "retrain.regression_set": str(regression),
            "workdir": str(folder.parent / "work"),
        }
    )
    rest = lifecycle.data(config)
    paths = {record.path for record in every_record(rest)}
    assert not paths & {"cat/00.jpg", "dog/11.bmp"}
    assert rest.excluded == 2
    assert "left out because they are excluded: 2" in capsys.readouterr().err
    assert rest.configured_digest == load(folder, excluded=str(excluded)).digest
    assert rest.source_digest == load(folder).digest


def test_a_regression_set_that_is_not_there_is_named_as_such(folder):  # noqa: F811
    config = load_config(
        overrides={"data.source": str(folder), "retrain.regression_set": "gone", "workdir": str(folder.parent)}
    )
    with pytest.raises(InputError, match="gone"):
        lifecycle.data(config)
