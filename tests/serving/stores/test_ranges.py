"""An object in S3 is read like a file, in ranges, and is the one that was listed or an error."""

import io
import os

import pytest

from serving.stores.s3_listing import Listed, ListedBucket
from serving.stores.s3_ranges import RangedFile
from slipway.errors import ConflictError, IntegrityError

CONTENT = bytes(range(256)) * 40


@pytest.fixture
def listed(s3_server, tmp_path):
    """A bucket, and an object in it as it was listed."""
    bucket = ListedBucket(s3_server.bucket_for(tmp_path).removeprefix("s3://").partition("/")[0])
    s3_server.client.put_object(Bucket=bucket.name, Key="a b/ü.parquet", Body=CONTENT)
    return bucket, next(bucket.objects(""))


def test_what_is_read_here_and_there_is_what_the_object_has_there(listed):
    bucket, found = listed
    file = RangedFile(found.size_bytes, lambda first, end: bucket.section(found, first, end))
    assert file.read(10) == CONTENT[:10]
    assert file.seek(-7, os.SEEK_END) == len(CONTENT) - 7
    assert file.read(100) == CONTENT[-7:]
    assert file.read(100) == b""
    file.seek(5)
    assert (file.seek(5, os.SEEK_CUR), file.tell()) == (10, 10)
    assert io.BufferedReader(file).read() == CONTENT[10:]


@pytest.mark.parametrize("content", [b"short", CONTENT[::-1], CONTENT + b"more", None])
def test_an_object_that_is_another_one_by_now_is_not_read_on(listed, s3_server, content):
    bucket, found = listed
    if content is None:
        s3_server.client.delete_object(Bucket=bucket.name, Key=found.key)
    else:
        s3_server.client.put_object(Bucket=bucket.name, Key=found.key, Body=content)
    with pytest.raises(ConflictError, match="expected it to stay as it was listed"):
        bucket.section(found, 100, 200)


def test_a_server_that_knows_no_ranges_is_said_to_know_none(listed, monkeypatch):
    bucket, found = listed
    get = bucket._client.get_object
    monkeypatch.setattr(bucket._client, "get_object", lambda **asked: get(Bucket=asked["Bucket"], Key=asked["Key"]))
    with pytest.raises(IntegrityError, match="expected a server that knows ranges"):
        bucket.section(found, 100, 200)


def test_an_object_that_is_too_large_is_not_fetched(listed, tmp_path):
    bucket, found = listed
    file = tmp_path / "fetched"
    with pytest.raises(IntegrityError, match=rf"has {len(CONTENT)} bytes; expected 100 at most"):
        bucket.fetch(Listed(found.key, 0, 0.0), file, 100)
    assert not file.exists()
    bucket.fetch(found, file, len(CONTENT))
    assert file.read_bytes() == CONTENT
