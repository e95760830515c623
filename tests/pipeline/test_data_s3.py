"""Images in S3 are the dataset that the same files on a disk are; each object is fetched once, and no key misleads."""

import json

import pytest

from pipeline.data import DataConfig, load_dataset, mlflow_dataset
from pipeline.data.sources import list_source
from serving.stores.s3_listing import ListedBucket
from slipway.errors import ConflictError, InputError, IntegrityError, NotFoundError, UnavailableError
from tests.pipeline.test_data import FORMATS, image_bytes, write

CSV = "path,label,split\n" + "".join(
    f"images/{label}-{number}.png,{label},{split}\n"
    for label in ("cat", "dog")
    for number, split in enumerate(("train", "validation", "test"))
)


class Bucket:
    """A bucket of this test's own, and how often each of its objects was fetched."""

    def __init__(self, server, tmp_path, monkeypatch):
        self.client = server.client
        self.name = server.bucket_for(tmp_path).removeprefix("s3://").partition("/")[0]
        self.fetched = []
        fetch = ListedBucket.fetch

        def counted(bucket, listed, file):
            self.fetched.append(listed.key)
            fetch(bucket, listed, file)

        monkeypatch.setattr(ListedBucket, "fetch", counted)

    def put(self, key, data=b"", **more):
        self.client.put_object(Bucket=self.name, Key=key, Body=data, **more)

    def uri(self, key):
        return f"s3://{self.name}/{key}"


@pytest.fixture
def bucket(s3_server, tmp_path, monkeypatch):
    return Bucket(s3_server, tmp_path, monkeypatch)


@pytest.fixture
def work(tmp_path):
    return tmp_path / "work"


def pets():
    """Path -> content: two classes of six images, with clutter beside them."""
    files = {
        f"{label}/{number}.{suffix}": image_bytes(100 * place + number, suffix)
        for place, label in enumerate(("cat", "dog"))
        for number, suffix in enumerate([*FORMATS] * 2)
    }
    return files | {"cat/.DS_Store": b"x", "README.md": b"pets", "cat/old/extra.png": image_bytes(999)}


def paths_of(listing):
    return sorted(candidate.path for candidate in listing.candidates)


def test_a_prefix_is_the_dataset_that_the_same_files_in_a_folder_are(bucket, work, tmp_path):
    for path, data in pets().items():
        write(tmp_path / "pets", path, data)
        bucket.put(f"all/pets/{path}", data)
    here = load_dataset(DataConfig(source=str(tmp_path / "pets")), work)
    there = load_dataset(DataConfig(source=bucket.uri("all/pets/")), work)
    assert there.digest == here.digest
    assert (there.labels, there.summary()) == (here.labels, here.summary())
    for split in ("train", "validation", "test"):
        assert there.split_digest(split) == here.split_digest(split)
        assert [each.path for each in getattr(there, split)] == [each.path for each in getattr(here, split)]
    assert there.place == bucket.uri("all/pets")
    logged = mlflow_dataset(there)
    assert (logged.name, logged.source._get_source_type()) == ("pets", "s3")
    assert json.loads(logged.source.to_json())["uri"] == bucket.uri("all/pets")


def test_a_manifest_is_the_dataset_that_the_same_file_on_a_disk_is(bucket, work, tmp_path):
    write(tmp_path, "sets/pets.csv", CSV.encode())
    bucket.put("sets/pets.csv", CSV.encode())
    for number, row in enumerate(CSV.splitlines()[1:]):
        path = row.partition(",")[0]
        write(tmp_path / "sets", path, image_bytes(number))
        bucket.put(f"sets/{path}", image_bytes(number))
    bucket.put("sets/images/not-named.png", image_bytes(77))
    here = load_dataset(DataConfig(source=str(tmp_path / "sets/pets.csv")), work)
    there = load_dataset(DataConfig(source=bucket.uri("sets/pets.csv")), work)
    assert (there.digest, there.labels) == (here.digest, here.labels)
    assert [record.path for record in there.test] == ["images/cat-2.png", "images/dog-2.png"]
    assert "sets/images/not-named.png" not in bucket.fetched


def test_only_what_has_changed_is_fetched_again(bucket, work):
    for path in ("cat/1.png", "cat/2.png", "dog/1.png"):
        bucket.put(f"pets/{path}", image_bytes(1))
    first = list_source(bucket.uri("pets"), work)
    assert sorted(bucket.fetched) == ["pets/cat/1.png", "pets/cat/2.png", "pets/dog/1.png"]
    bucket.fetched.clear()
    assert list_source(bucket.uri("pets"), work) == first
    assert bucket.fetched == []
    bucket.put("pets/cat/2.png", image_bytes(2))
    second = {each.path: each.file for each in list_source(bucket.uri("pets"), work).candidates}
    assert bucket.fetched == ["pets/cat/2.png"]
    assert second["cat/2.png"].read_bytes() == image_bytes(2)
    bucket.client.delete_object(Bucket=bucket.name, Key="pets/dog/1.png")
    assert paths_of(list_source(bucket.uri("pets"), work)) == ["cat/1.png", "cat/2.png"]


def test_a_fetch_that_was_stopped_goes_on_where_it_was(bucket, work, monkeypatch):
    for number in range(40):
        bucket.put(f"pets/cat/{number}.png", image_bytes(number))
    fetch, fetched = ListedBucket.fetch, []

    def stopped(each, listed, file):
        if len(fetched) >= 20:
            raise UnavailableError("the network went away")
        fetched.append(listed.key)
        fetch(each, listed, file)

    with monkeypatch.context() as patch:
        patch.setattr(ListedBucket, "fetch", stopped)
        with pytest.raises(UnavailableError, match="went away"):
            list_source(bucket.uri("pets"), work)
    bucket.fetched.clear()
    listing = list_source(bucket.uri("pets"), work)
    assert len(bucket.fetched) <= 20
    assert {each.path: each.file.read_bytes() for each in listing.candidates} == {
        f"cat/{number}.png": image_bytes(number) for number in range(40)
    }
    assert [path.name for path in (work / "s3").iterdir() if path.name.startswith(".")] == []


def test_a_file_that_was_cut_on_this_disk_is_fetched_again(bucket, work):
    bucket.put("pets/cat/1.png", image_bytes(1))
    (candidate,) = list_source(bucket.uri("pets"), work).candidates
    candidate.file.chmod(0o644)
    candidate.file.write_bytes(b"cut")
    list_source(bucket.uri("pets"), work)
    assert candidate.file.read_bytes() == image_bytes(1)


def test_bytes_that_are_not_what_is_said_of_them_are_refused_and_not_kept(bucket, work):
    bucket.put("pets/cat/1.png", image_bytes(1), Metadata={"slipway-sha256": "0" * 64})
    with pytest.raises(IntegrityError, match=r"pets/cat/1\.png: its bytes have sha256 .*expected 0000"):
        list_source(bucket.uri("pets"), work)
    assert [path for path in (work / "s3").rglob("*") if path.is_file()] == []


@pytest.mark.parametrize("change", ["replaced", "removed"])
def test_an_object_that_changes_after_it_was_listed_is_told_and_not_kept(bucket, work, monkeypatch, change):
    bucket.put("pets/cat/1.png", image_bytes(1))
    fetch = ListedBucket.fetch

    def changed_before(each, listed, file):
        if change == "replaced":
            bucket.put(listed.key, image_bytes(2))
        else:
            bucket.client.delete_object(Bucket=bucket.name, Key=listed.key)
        fetch(each, listed, file)

    monkeypatch.setattr(ListedBucket, "fetch", changed_before)
    with pytest.raises(ConflictError, match=r"pets/cat/1\.png: changed while it was read"):
        list_source(bucket.uri("pets"), work)
    assert [path for path in (work / "s3").rglob("*") if path.is_file()] == []


def test_hostile_keys_are_problems_and_write_nothing_outside_the_working_directory(bucket, work, tmp_path):
    good = ["cat/1.png", "dog/1.png"]
    hostile = ["../../evil.png", "cat/../../../evil.png", "cat//2.png", "/abs.png", "cat/./3.png", "..", "//"]
    for key in [*good, *hostile]:
        bucket.put(f"pets/{key}", image_bytes(1))
    bucket.put("pets/", b"")
    bucket.put("pets/bird/", b"")
    bucket.put("pets/cat/1.png/inside.png", image_bytes(2))
    bucket.put("pets/cat/" + "long" * 200 + ".png", image_bytes(3))
    bucket.put("pets/cat/tab\tbreak.png", image_bytes(4))
    before = {path for path in tmp_path.rglob("*") if work not in path.parents and path != work}
    listing = list_source(bucket.uri("pets"), work)
    faults = sorted(str(problem) for problem in listing.problems)
    odd = "has a name that no file can have; expected no empty part, '.' or '..'. Rename the object."
    assert [fault for fault in faults if odd in fault] == sorted(f"{key}: {odd}" for key in hostile)
    assert [fault for fault in faults if odd not in fault] == [
        "cat/tab\\tbreak.png: has a name with a control character or bytes that are not UTF-8; expected text."
    ]
    assert all(problem.skippable for problem in listing.problems)
    assert listing.labels == {"bird", "cat", "dog"}  # an empty folder is an empty class
    assert paths_of(listing) == sorted([*good, "cat/1.png/inside.png", "cat/" + "long" * 200 + ".png"])
    assert all(work in each.file.parents for each in listing.candidates)
    assert {path for path in tmp_path.rglob("*") if work not in path.parents and path != work} == before


def test_a_manifest_names_no_file_of_this_machine_and_nothing_outside_its_bucket(bucket, work):
    rows = "path,label\n/etc/hostname,a\n../../x.png,a\n../beside.png,a\nmissing.png,a\n"
    bucket.put("sets/pets.csv", rows.encode())
    bucket.put("beside.png", image_bytes(1))
    listing = list_source(bucket.uri("sets/pets.csv"), work)
    fault = "outside the bucket; expected a path relative to the manifest. Edit the row."
    assert [str(problem) for problem in listing.problems] == [
        f"pets.csv:2: names /etc/hostname, {fault}",
        f"pets.csv:3: names ../../x.png, {fault}",
    ]
    assert [(each.path, each.file.exists()) for each in listing.candidates] == [
        ("../beside.png", True),
        ("missing.png", False),
    ]
    with pytest.raises(InputError, match=r"missing\.png: does not exist; expected an image"):
        load_dataset(DataConfig(source=bucket.uri("sets/pets.csv"), skip_bad_images=False), work)


@pytest.mark.parametrize(
    ("key", "fault"),
    [
        ("nowhere", "does not exist"),
        ("nowhere.csv", "does not exist"),
        ("archive.zip", "is neither a folder nor a CSV file"),
        ("empty/", "does not exist"),
    ],
)
def test_a_source_that_is_none_is_refused_as_on_a_disk(bucket, work, key, fault):
    bucket.put("archive.zip", b"x")
    bucket.put("empty/", b"")
    with pytest.raises(InputError) as raised:
        list_source(bucket.uri(key), work)
    assert str(raised.value) == (
        f"data.source: '{bucket.uri(key)}' {fault}; expected 'digits', a folder with a subfolder per class, or a CSV "
        "file with the columns path,label, here or in S3 (s3://BUCKET/PREFIX). Edit it or pass --data."
    )


def test_a_manifest_that_is_no_table_is_named_by_its_address(bucket, work):
    bucket.put("pets.csv", b"file,label\n1.png,a\n")
    with pytest.raises(InputError, match=rf"^{bucket.uri('pets.csv')}: has columns file,label, without path"):
        list_source(bucket.uri("pets.csv"), work)


@pytest.mark.parametrize("source", ["s3://", "s3:///pets", "s3://../pets", "s3://.hidden/pets"])
def test_an_address_without_a_bucket_is_refused(s3_server, work, source):
    with pytest.raises(InputError, match="bucket"):
        list_source(source, work)
    assert not work.exists()


def test_a_bucket_that_is_not_there_is_named(s3_server, work):
    with pytest.raises(NotFoundError, match="bucket 'nobody-made-it' does not exist"):
        list_source("s3://nobody-made-it/pets", work)
