"""What is scored: the same images in the same parts every time, each read once, and what is wrong told apart."""

import http.server
import os
import subprocess
import threading
from contextlib import contextmanager
from typing import ClassVar

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipeline.scoring import reading
from pipeline.scoring.items import Item, Part
from pipeline.scoring.reading import NotReadError, Reader
from pipeline.scoring.source import open_source
from serving.stores.s3_listing import ListedBucket
from slipway.errors import ConflictError, InputError, UnavailableError


def everything(_number):
    return True


def images_of(source, size=4, is_wanted=everything):
    return {part.number: [item.image for item in part.items] for part in source.parts(size, is_wanted)}


def contents_of(source, scratch, size=4, is_wanted=everything):
    """What a reader says of each part's images, by part and by what they are called."""
    reader = Reader(str(scratch))
    try:
        return {
            part.number: {item.image: content for item, content in reader.read(part)}
            for part in source.parts(size, is_wanted)
        }
    finally:
        reader.close()


def write(folder, *paths):
    for path in paths:
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_bytes(path.encode())


@pytest.fixture
def scratch(tmp_path):
    folder = tmp_path / "scratch"
    folder.mkdir()
    return folder


def test_a_folders_images_come_in_the_order_of_their_names_and_clutter_is_passed_over(tmp_path, scratch):
    folder = tmp_path / "in"
    write(folder, "b/2.JPG", "b/1.png", "a.bmp", "b/.hidden.png", "__MACOSX/a.png", "b/notes.txt", "c/d/e.gif")
    (folder / "loop").symlink_to(folder)
    source = open_source(str(folder), scratch)
    assert images_of(source, 3) == {0: ["a.bmp", "b/1.png", "b/2.JPG"], 1: ["c/d/e.gif"]}
    assert source.images == 4


@pytest.fixture
def deep(tmp_path):
    """A folder in which folders lie in folders, deeper than Python calls functions: shutil cannot remove it either."""
    folder = tmp_path / "deep"
    folder.mkdir()
    place = os.open(folder, os.O_RDONLY)
    for _ in range(1200):
        os.mkdir("c", dir_fd=place)
        below = os.open("c", os.O_RDONLY, dir_fd=place)
        os.close(place)
        place = below
    os.close(place)
    yield folder
    subprocess.run(["rm", "-rf", folder], check=True)


def test_links_in_circles_and_folders_in_folders_without_end_are_gone_through(deep, scratch):
    write(deep, "b.png")
    (deep / "a.png").symlink_to("a.png")
    source = open_source(str(deep), scratch)
    assert images_of(source) == {0: ["a.png", "b.png"]}
    (part,) = source.parts(4, everything)
    assert [type(content) for content in read(*part.items, scratch=scratch)] == [NotReadError, bytes]


def test_only_parts_that_are_wanted_are_given(tmp_path, scratch):
    write(tmp_path / "in", *(f"{number}.png" for number in range(9)))
    source = open_source(str(tmp_path / "in"), scratch)
    (part,) = source.parts(4, lambda number: number == 1)
    assert (part.number, part.first_row, [item.image for item in part.items]) == (
        1,
        4,
        ["4.png", "5.png", "6.png", "7.png"],
    )


def test_the_digest_tells_another_name_size_or_time_of_an_image(tmp_path, scratch):
    folder = tmp_path / "in"
    write(folder, "1.png", "2.png")
    digests = [open_source(str(folder), scratch).digest for _ in range(2)]
    (folder / "1.png").write_bytes(b"longer than before")
    digests.append(open_source(str(folder), scratch).digest)
    os.utime(folder / "2.png", (1, 1))
    digests.append(open_source(str(folder), scratch).digest)
    (folder / "2.png").rename(folder / "3.png")
    digests.append(open_source(str(folder), scratch).digest)
    assert digests[0] == digests[1]
    assert len(set(digests)) == 4


def test_a_csv_names_images_beside_it_or_in_s3_as_often_as_it_likes(tmp_path, scratch):
    write(tmp_path, "in/1.png")
    (tmp_path / "list.csv").write_text("\ufefflabel,path\ncat,in/1.png\ncat,in/1.png\ndog,s3://pets/dog.png\n,\n")
    source = open_source(str(tmp_path / "list.csv"), scratch)
    (part,) = source.parts(9, everything)
    places = [item.place for item in part.items]
    assert places[:3] == [str(tmp_path / "in/1.png")] * 2 + ["s3://pets/dog.png"]
    assert source.images == 4


@pytest.mark.parametrize(
    ("name", "content", "expected"),
    [
        ("list.csv", b"file\n1.png\n", "column 'path'"),
        ("list.csv", b"path\n\xff\xfe\n", "UTF-8"),
        ("list.csv", b"path\n", "no image in it"),
        ("none.csv", None, "does not exist"),
        ("list.txt", b"1.png\n", "neither a folder"),
        ("in.parquet", b"PAR1", "Write the file again"),
        pytest.param("n" * 300, None, "File name too long", id="long"),
    ],
)
def test_an_input_that_is_none_is_said_to_be_none(tmp_path, scratch, name, content, expected):
    if content is not None:
        (tmp_path / name).write_bytes(content)
    with pytest.raises(InputError, match=expected):
        open_source(str(tmp_path / name), scratch)


def write_parquet(file, numbers, name="id", group=3):
    table = pa.table({name: list(numbers), "image_bytes": [f"image {number}".encode() for number in numbers]})
    pq.write_table(table, file, row_group_size=group)


@pytest.mark.parametrize("group", [1, 3, 100])
def test_parquet_holds_its_images_in_one_file_or_in_a_folder_of_them(tmp_path, scratch, group):
    folder = tmp_path / "in.parquet"
    (folder / "_temporary").mkdir(parents=True)
    write_parquet(folder / "a.parquet", range(7), group=group)
    write_parquet(folder / "b.parquet", range(7, 10), group=group)
    write_parquet(folder / "._b.parquet", range(1))
    write_parquet(folder / "_temporary" / "b.parquet", range(1))
    source = open_source(str(folder), scratch)
    expected = {0: range(4), 1: range(4, 8), 2: range(8, 10)}
    for wanted in ({0, 1, 2}, {0}, {1}, {2}, {0, 2}):
        assert contents_of(source, scratch, is_wanted=wanted.__contains__) == {
            part: {str(number): f"image {number}".encode() for number in expected[part]} for part in wanted
        }
        for part in source.parts(4, wanted.__contains__):
            assert (part.first_row, part.images) == (4 * part.number, len(expected[part.number]))
    write_parquet(tmp_path / "one.parquet", range(2), "other")
    assert set(contents_of(open_source(str(tmp_path / "one.parquet"), scratch), scratch)[0]) == {"0#0", "0#1"}


def test_small_groups_of_rows_are_read_by_whoever_scores_them_and_a_large_one_is_read_once(tmp_path, scratch):
    write_parquet(tmp_path / "in.parquet", range(40), group=16)
    source = open_source(str(tmp_path / "in.parquet"), scratch)
    assert all(part.rows and not part.items for part in source.parts(4, everything))
    assert all(part.items and not part.rows for part in source.parts(3, everything))


def test_parquet_that_changes_or_is_cut_short_meanwhile_is_said_to(tmp_path, scratch):
    file = tmp_path / "in.parquet"
    write_parquet(file, range(40))
    before, times = file.read_bytes(), file.stat()
    source = open_source(str(file), scratch)
    file.write_bytes(before[:4] + bytes(len(before) // 2) + before[4 + len(before) // 2 :])
    with pytest.raises(ConflictError, match=r"in\.parquet: changed since it was listed.*another --output"):
        contents_of(source, scratch)
    os.utime(file, ns=(times.st_atime_ns, times.st_mtime_ns))
    with pytest.raises(InputError, match=r"in\.parquet: .*Write the file again"):
        contents_of(source, scratch)
    file.unlink()
    with pytest.raises(UnavailableError, match=r"in\.parquet: No such file.*finished parts are kept"):
        contents_of(source, scratch)


def test_parquet_without_images_is_refused(tmp_path, scratch):
    pq.write_table(pa.table({"image_bytes": ["text"]}), tmp_path / "in.parquet")
    with pytest.raises(InputError, match="expected image_bytes, of encoded images"):
        open_source(str(tmp_path / "in.parquet"), scratch)


def read(*items, scratch, witnesses=()):
    reader = Reader(str(scratch), witnesses)
    try:
        return [content for _, content in reader.read(Part(0, 0, items))]
    finally:
        reader.close()


def test_what_is_wrong_with_one_image_is_its_own_and_what_is_wrong_with_its_place_is_not(tmp_path, scratch):
    write(tmp_path, "in/1.png")
    good = Item("1", str(tmp_path / "in/1.png"))
    never_there = [Item("2", str(tmp_path / "in/2.png")), Item("5", str(tmp_path / "gone/5.png"))]
    contents = read(good, *never_there, Item("3"), Item("4", "\0"), good, scratch=scratch)
    assert contents[0] == contents[5] == b"in/1.png"
    assert [type(each) for each in contents[1:5]] == [NotReadError] * 4
    with pytest.raises(UnavailableError, match=r"is gone since it was listed.*finished parts are kept"):
        read(Item("6", str(tmp_path / "in/6.png"), "1", 8), scratch=scratch)
    with pytest.raises(ConflictError, match="changed since it was listed"):
        read(Item("1", good.place, "1", 8), scratch=scratch)


def test_images_in_s3_are_read_by_their_listing_or_by_their_names(s3_server, tmp_path, scratch):
    bucket = s3_server.bucket_for(tmp_path).removeprefix("s3://").partition("/")[0]
    for key in ("in/1.png", "in/b/2.png", "in/b/readme.txt"):
        s3_server.client.put_object(Bucket=bucket, Key=key, Body=key.encode())
    source = open_source(f"s3://{bucket}/in", scratch)
    assert images_of(source) == {0: ["1.png", "b/2.png"]}
    (part,) = source.parts(9, everything)
    named = [Item("1", f"s3://{bucket}/in/1.png"), Item("3", f"s3://{bucket}/in/3.png")]
    contents = read(*part.items, *named, scratch=scratch)
    assert contents[:3] == [b"in/1.png", b"in/b/2.png", b"in/1.png"]
    assert isinstance(contents[3], NotReadError)
    s3_server.client.put_object(Bucket=bucket, Key="in/1.png", Body=b"another")
    with pytest.raises(ConflictError, match="changed since it was listed"):
        read(*part.items, scratch=scratch)
    s3_server.client.delete_object(Bucket=bucket, Key="in/1.png")
    contents = read(*part.items, scratch=scratch)
    assert "is gone since it was listed" in str(contents[0])
    assert contents[1] == b"in/b/2.png"
    with pytest.raises(UnavailableError, match=r"is gone.*20 images before it, and others"):
        read(*(part.items[0] for _ in range(30)), scratch=scratch, witnesses=part.items[:1])


def test_a_csv_and_parquet_in_s3_are_inputs_too(s3_server, tmp_path, scratch):
    bucket = s3_server.bucket_for(tmp_path).removeprefix("s3://").partition("/")[0]
    s3_server.client.put_object(Bucket=bucket, Key="lists/all.csv", Body=b"path\n../in/1.png\n")
    write_parquet(tmp_path / "in.parquet", range(3))
    s3_server.client.put_object(Bucket=bucket, Key="in.parquet", Body=(tmp_path / "in.parquet").read_bytes())
    (part,) = open_source(f"s3://{bucket}/lists/all.csv", scratch).parts(9, everything)
    assert part.items[0].place == f"s3://{bucket}/in/1.png"
    assert contents_of(open_source(f"s3://{bucket}/in.parquet", scratch), scratch) == {
        0: {str(number): f"image {number}".encode() for number in range(3)}
    }


def test_of_parquet_in_s3_no_more_is_fetched_than_the_parts_that_are_wanted_need(
    s3_server, monkeypatch, tmp_path, scratch
):
    bucket = s3_server.bucket_for(tmp_path).removeprefix("s3://").partition("/")[0]
    images = [os.urandom(100_000) for _ in range(40)]
    pq.write_table(pa.table({"image_bytes": images}), tmp_path / "in.parquet", row_group_size=10)
    s3_server.client.put_object(Bucket=bucket, Key="in.parquet", Body=(tmp_path / "in.parquet").read_bytes())
    asked = []
    section = ListedBucket.section

    def counted(self, listed, first, end):
        asked.append(end - first)
        return section(self, listed, first, end)

    monkeypatch.setattr(ListedBucket, "section", counted)
    source = open_source(f"s3://{bucket}/in.parquet", scratch)
    assert source.images == 40
    assert list(contents_of(source, scratch, 10, lambda number: number == 2)[2].values()) == images[20:30]
    assert 1_000_000 < sum(asked) < 1_300_000
    asked.clear()
    assert len(contents_of(source, scratch, 2)) == 20  # of groups that are too large to be read for each part
    assert sum(asked) < 4_300_000
    assert not list(scratch.iterdir())
    s3_server.client.put_object(Bucket=bucket, Key="in.parquet", Body=b"another")
    with pytest.raises(ConflictError, match=r"changed since it was listed.*another --output"):
        contents_of(source, scratch)


def test_of_a_large_group_of_rows_a_few_are_held_at_a_time(s3_server, monkeypatch, tmp_path, scratch):
    images = [os.urandom(100_000) for _ in range(160)]
    with pq.ParquetWriter(tmp_path / "in.parquet", pa.schema([("image_bytes", pa.binary())]), write_batch_size=8) as to:
        to.write_table(pa.table({"image_bytes": images}))
    before = pa.total_allocated_bytes()
    source, most = open_source(str(tmp_path / "in.parquet"), scratch), 0
    for part in source.parts(4, everything):
        most = max(most, pa.total_allocated_bytes() - before)
        assert [item.content for item in part.items] == images[part.first_row : part.first_row + 4]
    assert most < 9_000_000  # of 16 million bytes


class Refuses(http.server.BaseHTTPRequestHandler):
    """An S3 server that refuses what it does not have in `objects`."""

    objects: ClassVar = {}
    code = b"ExpiredToken"

    def do_GET(self):
        found = self.objects.get(self.path)
        self.send_response(403 if found is None else 200)
        body = b"<Error><Code>" + self.code + b"</Code><Message>No more</Message></Error>" if found is None else found
        self.send_header("Content-Length", str(len(body)))
        self.send_header("ETag", '"tag"')
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


@contextmanager
def refusing(monkeypatch, code, objects=()):
    kind = type("Refusing", (Refuses,), {"code": code, "objects": dict(objects)})
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), kind) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        monkeypatch.setenv("AWS_ENDPOINT_URL_S3", f"http://127.0.0.1:{server.server_port}")
        yield
        server.shutdown()


@pytest.mark.parametrize("tag", ["", "a" * 32])
def test_a_login_that_s3_does_not_take_any_more_ends_the_run_and_is_no_fault_of_an_image(
    s3_server, monkeypatch, scratch, tag
):
    with (
        refusing(monkeypatch, b"ExpiredToken"),
        pytest.raises(UnavailableError, match=r"ExpiredToken.*finished parts are kept"),
    ):
        read(Item("1", "s3://pets/1.png", tag, 1), scratch=scratch)


@pytest.mark.parametrize("code", [b"AccessDenied", b"InvalidObjectState", b"KMS.DisabledException"])
def test_an_object_that_is_refused_is_that_images_fault_and_many_in_a_row_end_the_run_if_no_other_can_be_read(
    s3_server, monkeypatch, scratch, code
):
    items = [Item(str(number), f"s3://pets/{number}.png") for number in range(50)]
    every_tenth = {f"/pets/{number}.png": b"png" for number in range(0, 50, 10)}
    with refusing(monkeypatch, code, every_tenth):
        contents = read(*items, scratch=scratch)
        assert [number for number, content in enumerate(contents) if content == b"png"] == list(range(0, 50, 10))
        assert code.decode() in str(contents[1])
        of_another_team = [Item(str(number), f"s3://pets/theirs/{number}.png") for number in range(50)]
        contents = read(*of_another_team, scratch=scratch, witnesses=items[5:11])
        assert len(contents) == 50
        assert all(isinstance(content, NotReadError) for content in contents)
        with pytest.raises(
            UnavailableError, match=rf"{code.decode()}.*20 images before it, and others.*finished parts are kept"
        ):
            read(*of_another_team, scratch=scratch, witnesses=items[5:10])


def test_an_object_that_is_not_what_its_server_says_has_an_error_and_not_the_run(s3_server, tmp_path, scratch):
    bucket = s3_server.bucket_for(tmp_path).removeprefix("s3://").partition("/")[0]
    s3_server.client.put_object(Bucket=bucket, Key="1.png", Body=b"1", Metadata={"slipway-sha256": "0" * 64})
    (content,) = read(Item("1", f"s3://{bucket}/1.png"), scratch=scratch)
    assert isinstance(content, NotReadError)
    assert "expected 000" in str(content)


def test_witnesses_are_some_from_all_over_what_lies_in_s3(tmp_path, scratch):
    (tmp_path / "list.csv").write_text("path\nhere.png\n" + "".join(f"s3://pets/{n}.png\n" for n in range(5000)))
    witnesses = open_source(str(tmp_path / "list.csv"), scratch).witnesses
    numbers = [int(witness.place.removeprefix("s3://pets/").removesuffix(".png")) for witness in witnesses]
    assert 10 < len(numbers) <= 30
    assert numbers == sorted(numbers)
    assert numbers[0] < 500
    assert numbers[-1] > 4500


def test_what_is_no_file_or_too_large_for_an_image_has_an_error_and_is_not_waited_for(
    s3_server, tmp_path, scratch, monkeypatch
):
    os.mkfifo(tmp_path / "pipe.png")
    with (tmp_path / "large.png").open("wb") as stream:
        stream.truncate(2**29 + 1)
    places = (tmp_path / "pipe.png", "/dev/zero", tmp_path, tmp_path / "large.png")
    contents = read(*(Item("1", str(place)) for place in places), scratch=scratch)
    assert all(isinstance(content, NotReadError) for content in contents)
    monkeypatch.setattr(reading, "_LARGEST_BYTES", 2)
    with refusing(monkeypatch, b"AccessDenied", {"/pets/1.png": b"png", "/pets/2.png": b"p"}):
        large, small = read(Item("1", "s3://pets/1.png"), Item("2", "s3://pets/2.png"), scratch=scratch)
    assert "has 3 bytes" in str(large)
    assert small == b"p"


def test_rows_may_name_large_objects_and_no_bucket_at_all(s3_server, tmp_path, scratch):
    bucket = s3_server.bucket_for(tmp_path).removeprefix("s3://").partition("/")[0]
    large = bytes(17 * 2**20)
    s3_server.client.put_object(Bucket=bucket, Key="large.png", Body=large)
    places = (f"s3://{bucket}/large.png", f"s3://{bucket}", "s3://", "s3://-/1.png", "s3://there-is-none/1.png")
    contents = read(*(Item("1", place) for place in places), scratch=scratch)
    assert contents[0] == large
    assert all(isinstance(content, NotReadError) for content in contents[1:])
