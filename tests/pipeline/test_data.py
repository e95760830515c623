"""Datasets from real files, opened by the decoder itself; batches; what MLflow records."""

import io
import json
import os
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image

from pipeline.data import DataConfig, batches, load_dataset, mlflow_dataset
from slipway.errors import InputError

DIGITS_DIGEST = "ae57527c9d52fcfa576ea795c5d644638b410b8a80ef974d477705f10c57184d"  # pragma: allowlist secret
FORMATS = {"jpg": "JPEG", "png": "PNG", "gif": "GIF", "bmp": "BMP"}


def image_bytes(seed, suffix="png", size=(12, 10), **options):
    """An encoded image; another seed, another content."""
    pixels = np.random.default_rng(seed).integers(0, 256, (size[1], size[0], 3), dtype=np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, FORMATS[suffix], **options)
    return buffer.getvalue()


def write(folder, path, data):
    file = folder / path
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(data)
    return file


@pytest.fixture
def folder(tmp_path):
    """Two classes, cat and dog, of ten images each, all different, in every format."""
    root = tmp_path / "animals"
    for number in range(20):
        suffix = list(FORMATS)[number % 4]
        label = "cat" if number < 10 else "dog"
        write(root, f"{label}/{number:02}.{suffix}", image_bytes(number, suffix))
    return root


def load(folder, **config):
    return load_dataset(DataConfig(source=str(folder), **config), folder.parent / "work")


def refusal(folder, **config):
    """The lines of the error that loading `folder` raises."""
    with pytest.raises(InputError) as raised:
        load(folder, **config)
    return str(raised.value).split("\n")


def every_record(dataset):
    return dataset.train + dataset.validation + dataset.test


def test_a_folder_becomes_a_dataset_of_three_splits(folder):
    dataset = load(folder, validation_fraction=0.2, test_fraction=0.2)
    assert dataset.labels == ("cat", "dog")
    assert [len(split) for split in (dataset.train, dataset.validation, dataset.test)] == [12, 4, 4]
    for split in (dataset.train, dataset.validation, dataset.test):
        assert [record.path for record in split] == sorted(record.path for record in split)
        assert {record.class_id for record in split} == {0, 1}
    for record in every_record(dataset):
        assert dataset.labels[record.class_id] == record.path.split("/")[0]
        assert record.file.read_bytes()
    assert dataset.summary() == "20 images of 2 classes: 12 train, 4 validation, 4 test"


def test_the_same_images_elsewhere_have_the_same_splits_and_digests(folder):
    first = load(folder)
    moved = folder.rename(folder.parent / "moved")
    second = load(moved)
    assert [record.path for record in first.test] == [record.path for record in second.test]
    assert first.digest == second.digest
    assert first.split_digest("test") == second.split_digest("test") != first.split_digest("train")


@pytest.mark.parametrize("change", ["content", "name", "label", "removal"])
def test_any_change_of_the_images_changes_the_digest(folder, change):
    before = load(folder).digest
    file = folder / "cat/01.png"
    if change == "content":
        file.write_bytes(image_bytes(100))
    elif change == "name":
        file.rename(folder / "cat/other.png")
    elif change == "label":
        file.rename(folder / "dog/01.png")
    else:
        file.unlink()
    assert load(folder).digest != before


def test_a_seed_changes_the_splits_and_not_the_digest_of_the_whole(folder):
    first, second = load(folder), load(folder, split_seed=1)
    assert first.digest == second.digest
    assert first.split_digest("test") != second.split_digest("test")


def test_identical_images_stay_in_one_split(folder):
    for number in range(10):
        write(folder, f"cat/copy{number:02}.png", (folder / "cat/01.png").read_bytes())
    for seed in range(5):
        dataset = load(folder, split_seed=seed)
        where = [{record.sha256 for record in split} for split in (dataset.train, dataset.validation, dataset.test)]
        assert sum(map(len, where)) == len(set.union(*where))


def test_a_manifest_decides_the_splits_itself(folder):
    rows = ["path,label,split"]
    for number, file in enumerate(sorted(folder.rglob("*.*"))):
        split = "validation" if number % 10 == 0 else "test" if number % 10 == 1 else "train"
        rows.append(f"{file.relative_to(folder)},{file.parent.name},{split}")
    write(folder, "images.csv", "\n".join(rows).encode())
    dataset = load(folder / "images.csv")
    assert [record.path for record in dataset.validation] == ["cat/00.jpg", "dog/10.gif"]
    assert [record.path for record in dataset.test] == ["cat/01.png", "dog/11.bmp"]
    assert dataset.digest == load(folder).digest


def test_all_problems_are_listed_at_once_with_their_places(folder):
    write(folder, "cat/text.jpg", b"this is no picture")
    write(folder, "cat/empty.png", b"")
    write(folder, "cat/cut.jpg", image_bytes(50, "jpg", (200, 200))[:-2000])
    write(folder, "cat/notes.txt", b"")
    write(folder, "dog/large.png", image_bytes(51, "png", (40, 30)))
    write(folder, "dog/same.jpg", (folder / "cat/00.jpg").read_bytes())
    (folder / "cat/gone.png").symlink_to(folder / "nowhere.png")
    (folder / "fish").mkdir()
    write(folder, "bird /one.png", image_bytes(52))
    headline, *lines = refusal(folder, max_pixels=1199)
    assert headline == (
        f"data {folder}: 10 problems; expected none. Mend them, or pass --skip-bad-images to go on without bad "
        "images (6)."
    )
    assert [line.strip() for line in lines] == [
        (
            "cat/00.jpg and dog/same.jpg: is the same image, under label 'cat' and under 'dog'; expected one label. "
            "Remove one of them."
        ),
        (
            "class 'bird ': has an odd name; expected printable characters, without '/', '\\' or space around, at most "
            "200. Rename it."
        ),
        (
            "class 'bird ': has 1 different usable image; expected at least 3, one for each split. Add images or "
            "remove the class."
        ),
        "class 'fish': has no usable image; expected at least 3, one for each split. Add images or remove the class.",
        "cat/cut.jpg: image has 40000 pixels, over the limit of 1199.",
        "cat/empty.png: data of 0 bytes is no image; expected JPEG, PNG, GIF or BMP.",
        "cat/gone.png: does not exist; expected an image.",
        "cat/notes.txt: is no image by its name; expected .jpg, .png, .bmp or .gif.",
        "cat/text.jpg: data of 18 bytes is no image; expected JPEG, PNG, GIF or BMP.",
        "dog/large.png: image has 1200 pixels, over the limit of 1199.",
    ]


@pytest.mark.parametrize("suffix", FORMATS)
def test_a_truncated_image_is_found(folder, suffix):
    data = image_bytes(50, suffix, (64, 64))
    write(folder, f"cat/cut.{suffix}", data[: len(data) * 9 // 10])
    (line,) = refusal(folder)
    assert line.startswith(f"cat/cut.{suffix}: {FORMATS[suffix]} data is ")
    assert "truncated" in line
    assert line.endswith(" Mend or remove it, or pass --skip-bad-images.")


def test_bad_images_are_skipped_on_request_and_counted(folder):
    clean = load(folder)
    write(folder, "cat/text.jpg", b"this is no picture")
    write(folder, "dog/notes.txt", b"")
    dataset = load(folder, skip_bad_images=True)
    assert dataset.digest == clean.digest
    assert [problem.place for problem in dataset.skipped] == ["dog/notes.txt", "cat/text.jpg"]
    assert dataset.summary().endswith("; bad images skipped: 2")


def test_skipping_bad_images_does_not_skip_what_is_wrong_with_the_whole(folder):
    for file in list((folder / "dog").iterdir())[2:]:
        file.write_bytes(b"damaged")
    (line,) = refusal(folder, skip_bad_images=True)
    assert line.startswith("class 'dog': has 2 different usable images; expected at least 3")


def test_copies_of_one_image_do_not_make_a_class(folder):
    for number in range(5):
        write(folder, f"fish/{number}.png", image_bytes(99))
    (line,) = refusal(folder)
    assert line.startswith("class 'fish': has 1 different usable image; expected at least 3")


def test_an_empty_folder_and_a_single_class_are_refused(tmp_path):
    (tmp_path / "data").mkdir()
    (line,) = refusal(tmp_path / "data")
    assert "has no classes; expected a subfolder per class" in line
    for number in range(3):
        write(tmp_path, f"data/only/{number}.png", image_bytes(number))
    (line,) = refusal(tmp_path / "data")
    assert "has a single class, 'only'; expected two or more" in line


def test_a_manifest_with_leaking_or_missing_splits_is_refused(folder):
    write(folder, "cat/copy.jpg", (folder / "cat/00.jpg").read_bytes())
    rows = [
        "path,label,split",
        "cat/00.jpg,cat,train",
        "cat/copy.jpg,cat,test",
        "cat/01.png,cat,validation",
        "dog/10.gif,dog,train",
        "dog/11.bmp,dog,test",
    ]
    write(folder, "images.csv", "\n".join(rows).encode())
    _, *lines = refusal(folder / "images.csv")
    assert [line.strip() for line in lines] == [
        (
            "cat/00.jpg and cat/copy.jpg: is the same image, in split train and in test; expected one split. "
            "Remove one of them."
        ),
        "class 'dog': has no image in validation; expected one in each split. Add images or change splits.",
    ]


def test_files_named_by_a_manifest_that_are_no_files_are_bad_images(folder):
    os.mkfifo(folder / "cat/pipe.png")
    rows = [f"{file.relative_to(folder)},{file.parent.name}" for file in folder.rglob("*.*")]
    write(folder, "images.csv", "\n".join(["path,label", *rows, "cat,cat", "cat/absent.png,cat"]).encode())
    _, *lines = refusal(folder / "images.csv")
    assert [line.strip() for line in lines] == [
        "cat: is no file; expected an image that can be read.",
        "cat/absent.png: does not exist; expected an image.",
        "cat/pipe.png: is no file; expected an image that can be read.",
    ]
    assert len(load(folder / "images.csv", skip_bad_images=True).skipped) == 3


def test_a_file_too_large_for_any_image_within_the_limit_is_not_even_read(folder):
    with (folder / "cat/huge.png").open("wb") as file:
        file.truncate(2**40)  # sparse: it takes no room, and reading it would not end
    (line,) = refusal(folder)
    assert line.startswith("cat/huge.png: has 1099511627776 bytes, more than any image within the limit on pixels;")


def test_of_many_problems_the_rest_is_in_a_file_that_the_message_names(folder):
    for number in range(40):
        write(folder, f"cat/bad{number:02}.png", b"")
    headline, *lines = refusal(folder)
    assert headline.startswith(f"data {folder}: 40 problems;")
    everything = folder.parent / "work/data-problems.txt"
    assert lines[-1].strip() == f"and 10 more, all of them in {everything}"
    assert len(everything.read_text().splitlines()) == 40


def test_images_that_carry_an_exif_rotation_are_counted(folder):
    for orientation in (1, 3, 6):
        exif = Image.Exif()
        exif[0x0112] = orientation
        write(folder, f"cat/turned{orientation}.jpg", image_bytes(60 + orientation, "jpg", exif=exif))
        write(folder, f"dog/turned{orientation}.png", image_bytes(70 + orientation, "png", exif=exif))
    dataset = load(folder)
    assert dataset.rotated == 4
    assert "EXIF rotations ignored: 4" in dataset.summary()


def test_batches_hold_resized_pixels_and_one_hot_classes_in_the_order_of_the_records(folder):
    dataset = load(folder)
    pairs = list(batches(dataset.train, 2, (6, 8), 5, None).as_numpy_iterator())
    assert [len(images) for images, _ in pairs] == [5, 5, 5, 1]
    images = np.concatenate([images for images, _ in pairs])
    classes = np.concatenate([classes for _, classes in pairs])
    assert (images.shape, images.dtype, classes.dtype) == ((16, 6, 8, 3), np.float32, np.float32)
    assert np.array_equal(classes, np.eye(2)[[record.class_id for record in dataset.train]])
    for record, pixels in zip(dataset.train, images, strict=True):
        original = np.asarray(Image.open(record.file).convert("RGB"), dtype=float)
        assert abs(pixels.mean() - original.mean()) < 20
    full = next(iter(batches(dataset.train[1:2], 2, (10, 12), 1, None).as_numpy_iterator()))[0][0]
    assert np.array_equal(full, np.asarray(Image.open(dataset.train[1].file).convert("RGB")))


def test_a_shuffle_seed_alone_decides_the_order(folder):
    records = load(folder).train

    def images(seed):
        return np.concatenate([pixels for pixels, _ in batches(records, 2, (6, 8), 4, seed).as_numpy_iterator()])

    assert np.array_equal(images(3), images(3))
    assert not np.array_equal(images(3), images(4))
    assert np.array_equal(np.sort(images(3), axis=0), np.sort(images(None), axis=0))


@pytest.mark.integration
def test_mlflow_records_the_dataset_with_its_digest_place_and_sizes(folder, tmp_path):
    import mlflow

    dataset = load(folder)
    mlflow.set_tracking_uri(f"sqlite:///{tmp_path}/mlflow.db")
    with mlflow.start_run() as run:
        mlflow.log_input(mlflow_dataset(dataset), context="training")
    (logged,) = mlflow.get_run(run.info.run_id).inputs.dataset_inputs
    assert logged.dataset.name == "animals"
    assert dataset.digest.startswith(logged.dataset.digest)
    assert len(logged.dataset.digest) == 36
    assert json.loads(logged.dataset.source) == {"uri": str(folder)}
    profile = json.loads(logged.dataset.profile)
    assert profile == {"train": 16, "validation": 2, "test": 2, "classes": 2, "rotated": 0, "skipped": 0}


def test_the_embedded_digits_load_with_the_same_digest_everywhere(tmp_path):
    dataset = load_dataset(DataConfig(), tmp_path)
    assert dataset.summary() == "1,797 images of 10 classes: 1,439 train, 179 validation, 179 test"
    assert dataset.digest == DIGITS_DIGEST


STREAM = """
import resource, sys
from pathlib import Path
from pipeline.data import DataConfig, batches, load_dataset

def peak_mb():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024

dataset = load_dataset(DataConfig(source=sys.argv[1]), Path(sys.argv[2]))
for _ in batches(dataset.validation, 2, (224, 224), 32, None):
    pass
before = peak_mb()
for _ in batches(dataset.train, 2, (224, 224), 32, 0):
    pass
print(peak_mb() - before)
"""


@pytest.mark.integration
def test_streaming_eight_times_as_many_images_takes_no_more_memory(tmp_path):
    """1,600 images of 512 x 512 would be 960 MB at 224 x 224 in float32; a pass over them adds less than 150 MB."""
    template = bytearray(image_bytes(0, "bmp", (512, 512)))
    for number in range(2000):
        template[-4:] = number.to_bytes(4, "little")
        write(tmp_path, f"data/{number % 2}/{number}.bmp", bytes(template))
    arguments = [sys.executable, "-c", STREAM, str(tmp_path / "data"), str(tmp_path / "work")]
    done = subprocess.run(arguments, capture_output=True, text=True, check=True, timeout=250)
    assert float(done.stdout) < 150
