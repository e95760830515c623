"""What a source lists, before any image is opened: here images are empty files."""

import os
from pathlib import Path

import pytest

from pipeline.data.digits import write_digits
from pipeline.data.sources import list_source
from slipway.errors import InputError
from slipway.files import sha256_file

FIRST_DIGIT = "db8eb7474a3095a68798c92f311a63da9d1ab77ed9ec2ae7a1c0342bc6fd68b0"  # pragma: allowlist secret


def touch(folder, *paths):
    for path in paths:
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).touch()


def paths_of(listing):
    return sorted(candidate.path for candidate in listing.candidates)


def faults_of(listing):
    return sorted(str(problem) for problem in listing.problems)


def manifest(folder, text, encoding="utf-8"):
    file = folder / "images.csv"
    file.write_bytes(text.encode(encoding))
    return str(file)


def refusal(source, workdir):
    with pytest.raises(InputError) as raised:
        list_source(str(source), workdir)
    assert "\n" not in str(raised.value)
    return str(raised.value)


def test_a_folder_has_a_class_per_subfolder_and_images_at_any_depth(tmp_path):
    touch(tmp_path, "cat/1.jpg", "cat/old/2.PNG", "dog/3.jpeg", "dog/4.gif", "dog/5.bmp")
    (tmp_path / "empty").mkdir()
    listing = list_source(str(tmp_path), tmp_path)
    assert paths_of(listing) == ["cat/1.jpg", "cat/old/2.PNG", "dog/3.jpeg", "dog/4.gif", "dog/5.bmp"]
    assert {candidate.path: candidate.label for candidate in listing.candidates}["cat/old/2.PNG"] == "cat"
    assert listing.labels == {"cat", "dog", "empty"}
    assert not listing.problems


def test_hidden_files_and_clutter_of_operating_systems_are_passed_over(tmp_path):
    touch(tmp_path, "cat/1.jpg", "cat/.DS_Store", "cat/Thumbs.db", "__MACOSX/cat/1.jpg", ".git/x.jpg", "README.md")
    listing = list_source(str(tmp_path), tmp_path)
    assert (paths_of(listing), listing.labels, listing.problems) == (["cat/1.jpg"], {"cat"}, [])


def test_other_files_among_the_images_and_images_beside_the_classes_are_problems(tmp_path):
    touch(tmp_path, "cat/1.jpg", "cat/notes.txt", "cat/2.webp", "stray.png", "cat/line\nbreak.jpg")
    touch(tmp_path, os.fsdecode(b"cat/caf\xe9.jpg"))
    (tmp_path / "cat/circle").symlink_to(tmp_path)
    listing = list_source(str(tmp_path), tmp_path)
    assert paths_of(listing) == ["cat/1.jpg"]
    assert faults_of(listing) == [
        "cat/2.webp: is no image by its name; expected .jpg, .png, .bmp or .gif.",
        "cat/caf\\xe9.jpg: has a name with a control character or bytes that are not UTF-8; expected text.",
        "cat/circle: is a link to a folder, which may lead in a circle; expected a folder or images.",
        "cat/line\\nbreak.jpg: has a name with a control character or bytes that are not UTF-8; expected text.",
        "cat/notes.txt: is no image by its name; expected .jpg, .png, .bmp or .gif.",
        "stray.png: lies in no class's folder; expected <class>/<image>.",
    ]
    assert all(problem.skippable for problem in listing.problems)


@pytest.mark.parametrize("name", ["nowhere", "archive.zip", "nowhere.csv"])
def test_a_source_that_is_none_is_refused_with_what_is_expected(tmp_path, name):
    touch(tmp_path, "archive.zip")
    fault = "is neither a folder nor a CSV file" if name == "archive.zip" else "does not exist"
    assert refusal(tmp_path / name, tmp_path) == (
        f"data.source: '{tmp_path / name}' {fault}; expected 'digits', a folder with a subfolder per class, or a CSV "
        "file with the columns path,label, here or in S3 (s3://BUCKET/PREFIX). Edit it or pass --data."
    )


def test_a_manifest_names_images_relative_to_its_own_folder(tmp_path, monkeypatch):
    absolute = tmp_path / "elsewhere/3.jpg"
    source = manifest(tmp_path, f"path,label\nimages/1.jpg,cat\n../2.jpg,dog\n{absolute},dog\n")
    monkeypatch.chdir("/")
    listing = list_source(source, tmp_path)
    assert [candidate.path for candidate in listing.candidates] == ["images/1.jpg", "../2.jpg", str(absolute)]
    files = [tmp_path / "images/1.jpg", tmp_path.parent / "2.jpg", absolute]
    assert [candidate.file for candidate in listing.candidates] == files
    assert listing.labels == {"cat", "dog"}
    assert {candidate.split for candidate in listing.candidates} == {None}


def test_a_manifest_may_give_the_splits(tmp_path):
    source = manifest(tmp_path, "split,label,path,note\ntrain,a,1.jpg,\nvalidation,a,2.jpg,\ntest,a,3.jpg,x\n")
    listing = list_source(source, tmp_path)
    assert [candidate.split for candidate in listing.candidates] == ["train", "validation", "test"]


def test_a_manifest_from_a_spreadsheet_is_read_as_it_is(tmp_path):
    """Byte order mark, CRLF, quotes, blank lines; labels such as NA, 007 and null stay text."""
    text = '\ufeffpath, label\r\n"a,1.jpg",NA\r\n\r\n2.jpg,007\r\n3.jpg,null\r\n,\r\n'
    listing = list_source(manifest(tmp_path, text), tmp_path)
    assert [(candidate.path, candidate.label) for candidate in listing.candidates] == [
        ("a,1.jpg", "NA"),
        ("2.jpg", "007"),
        ("3.jpg", "null"),
    ]
    assert not listing.problems


def test_every_bad_row_of_a_manifest_is_named_by_its_line(tmp_path):
    text = (
        "path,label,split\n1.jpg,a,train\n,a,train\n\n3.jpg,,test\n4.jpg,a,val\n5.jpg,a,zzz\n./1.jpg,a,train\n6.jpg\n"
    )
    listing = list_source(manifest(tmp_path, text), tmp_path)
    assert paths_of(listing) == ["1.jpg"]
    assert faults_of(listing) == [
        "images.csv:3: path is ''; expected an image's path, without control characters. Edit the row.",
        "images.csv:5: label is empty; expected the image's class. Edit the row.",
        "images.csv:6: split is 'val'; expected train, validation or test. Write 'validation'.",
        "images.csv:7: split is 'zzz'; expected train, validation or test. Edit the row, or leave the column out.",
        "images.csv:8: names ./1.jpg again, after line 2; expected each image once. Remove a row.",
        "images.csv:9: label is empty; expected the image's class. Edit the row.",
    ]
    assert not any(problem.skippable for problem in listing.problems)


@pytest.mark.parametrize(
    ("text", "encoding", "fault"),
    [
        (
            "file,label\n1.jpg,a\n",
            "utf-8",
            "has columns file,label, without path; expected UTF-8 text with the columns",
        ),
        ("a;b\n1.jpg;a\n", "utf-8", "has columns a;b, without label and path; expected"),
        ("", "utf-8", "No columns to parse from file; expected"),
        ("path,label\n1.jpg,caf\xe9\n", "latin-1", "codec can't decode byte 0xe9"),
        ("path,label\n1.jpg,a,b,c\n", "utf-8", "; expected UTF-8 text with the columns path,label"),
        ("path,label\n1.jpg,a\n2.jpg,a,b\n", "utf-8", "Expected 2 fields in line 3, saw 3; expected"),
        ('path,label\n"1.jpg,a\n', "utf-8", "EOF inside string"),
    ],
)
def test_a_manifest_that_is_no_such_table_is_refused(tmp_path, text, encoding, fault):
    source = manifest(tmp_path, text, encoding)
    message = refusal(source, tmp_path)
    assert message.startswith(f"{source}: ")
    assert fault in message


def test_digits_are_1797_files_in_ten_classes_with_the_same_bytes_everywhere(tmp_path):
    listing = list_source("digits", tmp_path)
    assert len(listing.candidates) == 1797
    assert listing.labels == set("0123456789")
    assert not listing.problems
    assert sha256_file(tmp_path / "digits/0/0000.png") == FIRST_DIGIT


def test_files_are_absolute_whatever_the_working_directory(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    touch(tmp_path, "animals/cat/1.jpg")
    listings = [list_source("digits", Path("work")), list_source("animals", Path("work"))]
    monkeypatch.chdir("/")
    assert all(Path(listing.place).is_dir() and listing.candidates[0].file.is_file() for listing in listings)


def test_digits_are_written_once_and_leave_nothing_beside(tmp_path):
    folder = write_digits(tmp_path / "new/work")
    marked = folder / "0/0000.png"
    os.utime(marked, (1, 1))
    assert write_digits(tmp_path / "new/work") == folder
    assert marked.stat().st_mtime == 1
    assert list(folder.parent.iterdir()) == [folder]


def test_digits_whose_writing_failed_leave_nothing(tmp_path, monkeypatch):
    monkeypatch.setattr("pipeline.data.digits._grey_png", lambda _: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        write_digits(tmp_path)
    assert not list(tmp_path.iterdir())
