"""The door to S3: objects of one bucket, by boto3. Every error is one of ours.

Each object carries the SHA-256 of its bytes as metadata, and every body is sent with its MD5, which the server checks.
"""

import base64
import hashlib
import re
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, TypedDict

import boto3.exceptions
import botocore.exceptions
from boto3.s3.transfer import TransferConfig

from serving.stores.s3_client import s3_client
from serving.stores.s3_errors import (
    ENDPOINT,
    MISSING,
    NoSuchObjectError,
    code_of,
    s3_errors,
    unanswered,
    writing_errors,
)
from slipway.errors import InputError, IntegrityError
from slipway.files import sha256_bytes

if TYPE_CHECKING:
    from types_boto3_s3.type_defs import CompletedPartTypeDef, HeadObjectOutputTypeDef, MultipartUploadTypeDef

_SHA256 = "slipway-sha256"
_PART_BYTES = 16 * 2**20  # S3 takes 10,000 parts: 160 GB a file
_AT_ONCE = 8
_OVERTAKEN = {"412", "409", "PreconditionFailed", "ConditionalRequestConflict"}
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,254}")
_LARGEST_READ_BYTES = 16 * 2**20


class Condition(TypedDict, total=False):
    """When a write may happen: there is no such object (`*`), or the one with that tag."""

    IfNoneMatch: str
    IfMatch: str


IF_ABSENT: Condition = {"IfNoneMatch": "*"}


def is_bucket_name(name: str) -> bool:
    """Whether a bucket can have that name."""
    return _NAME.fullmatch(name) is not None


@dataclass(frozen=True)
class Upload:
    """A file that is to be the object `key`."""

    key: str
    file: Path
    sha256: str


class Bucket:
    """A bucket that is there, reached with the usual AWS variables and profiles. May be used from many threads.

    AWS_ENDPOINT_URL_S3 names a server other than Amazon's. Every method raises UnavailableError for a server that does
    not answer, InputError for credentials that it refuses, NotFoundError for a bucket that is not there.
    """

    def __init__(self, name: str) -> None:
        if not is_bucket_name(name):
            shown = "with a user or password in it" if {"@", ":"} & set(name) else repr(name[:80])
            raise InputError(f"bucket {shown}: expected the bucket's name alone, as in s3://BUCKET/PREFIX. Correct it.")
        self.name = name
        try:
            with self._translated(""):
                self._client = s3_client(2 * _AT_ONCE)
        except ValueError as error:
            raise InputError(f"expected the server's address in {ENDPOINT}, and it is none. Correct it.") from error
        if "@" in self._client.meta.endpoint_url:
            raise InputError(
                f"expected the server's address in {ENDPOINT}, with no user or password in it. Set AWS_ACCESS_KEY_ID "
                "and AWS_SECRET_ACCESS_KEY, or AWS_PROFILE, instead."
            )

    def sha256(self, key: str) -> str | None:
        """What the object's bytes are said to be; "" if nothing is said, None if there is no such object."""
        found = self._head(key)
        return None if found is None else found["Metadata"].get(_SHA256, "")

    def read(self, key: str) -> tuple[bytes | None, Condition]:
        """A small object's bytes, None if there is no such object; and what `put` takes to replace these alone.

        IntegrityError for a large one.
        """
        with self._translated(key):
            try:
                found = self._client.get_object(Bucket=self.name, Key=key)
            except botocore.exceptions.ClientError as error:
                if code_of(error) in MISSING:
                    return None, IF_ABSENT
                raise
            if found["ContentLength"] > _LARGEST_READ_BYTES:
                found["Body"].close()
                raise IntegrityError(
                    f"{self._place(key)}: has {found['ContentLength']} bytes; expected {_LARGEST_READ_BYTES} at most. "
                    "Somebody put another thing there: remove it."
                )
            return found["Body"].read(), {"IfMatch": found["ETag"]}

    def put(self, key: str, content: bytes, condition: Condition | None = None) -> bool:
        """Write an object; False, and nothing is written, if the condition does not hold.

        A server that does not know conditions writes.
        """
        with self._translated(key):
            try:
                self._client.put_object(
                    Bucket=self.name,
                    Key=key,
                    Body=content,
                    ContentMD5=_base64(hashlib.md5(content, usedforsecurity=False).digest()),
                    Metadata={_SHA256: sha256_bytes(content)},
                    **(condition or Condition()),
                )
            except botocore.exceptions.ClientError as error:
                # The object under an `IfMatch` has gone: that is overtaken, too.
                if condition and code_of(error) in _OVERTAKEN | MISSING:
                    tag, found = condition.get("IfMatch", ""), self._head(key)
                    # Ceph compares a tag without the quotes that belong to it.
                    unquoted = tag.startswith('"') and found is not None and found["ETag"] == tag
                    return unquoted and self.put(key, content, {"IfMatch": tag.strip('"')})
                raise
        return True

    def delete(self, keys: Collection[str]) -> None:
        """Remove objects; those that are not there are no error."""
        with self._translated(next(iter(keys), "")):
            for key in keys:
                self._client.delete_object(Bucket=self.name, Key=key)

    def sizes(self, prefix: str) -> dict[str, int]:
        """The objects below `prefix` and their sizes in bytes."""
        with self._translated(prefix):
            pages = self._client.get_paginator("list_objects_v2").paginate(Bucket=self.name, Prefix=prefix)
            return {each["Key"]: each["Size"] for page in pages for each in page.get("Contents", ())}

    def folders(self, prefix: str) -> list[str]:
        """The first parts of the keys below `prefix` that have more than one."""
        with self._translated(prefix):
            pages = self._client.get_paginator("list_objects_v2").paginate(
                Bucket=self.name, Prefix=prefix, Delimiter="/"
            )
            return [each["Prefix"][len(prefix) : -1] for page in pages for each in page.get("CommonPrefixes", ())]

    def upload(self, uploads: Collection[Upload]) -> None:
        """Have files there as objects, in parts at once; what has arrived of an earlier try is not sent again."""
        # The large ones first: what takes longest is then not what ends last.
        ordered = sorted(uploads, key=lambda upload: upload.file.stat().st_size, reverse=True)
        with _threads("s3") as files, _threads("s3-part") as parts:
            for done in [files.submit(self._upload, upload, parts) for upload in ordered]:
                done.result()

    def download(self, objects: Mapping[str, Path], arrived: Callable[[int], None] | None = None) -> None:
        """Write objects to files, whose directories are made; IntegrityError for keys that cannot be files together.

        arrived: told how many bytes have come, by several threads.
        """
        transfer = TransferConfig(multipart_threshold=_PART_BYTES, multipart_chunksize=_PART_BYTES)

        def fetch(key: str, file: Path) -> None:
            with self._translated(key), writing_errors(self._place(key), file):
                file.parent.mkdir(parents=True, exist_ok=True)
                try:
                    self._client.download_file(self.name, key, str(file), Callback=arrived, Config=transfer)
                except boto3.exceptions.Boto3Error as error:
                    raise unanswered(self._place(key), error) from error

        with _threads("s3") as pool:
            for done in [pool.submit(fetch, key, file) for key, file in objects.items()]:
                done.result()

    def abort_uploads(self, prefix: str) -> None:
        """Give up all unfinished uploads of objects below `prefix`."""
        self._abort(self._unfinished(prefix))

    def _abort(self, uploads: "Iterable[MultipartUploadTypeDef]") -> None:
        for upload in uploads:
            with suppress(NoSuchObjectError), self._translated(upload["Key"]):
                self._client.abort_multipart_upload(Bucket=self.name, Key=upload["Key"], UploadId=upload["UploadId"])

    def _head(self, key: str) -> "HeadObjectOutputTypeDef | None":
        with suppress(NoSuchObjectError), self._translated(key):
            return self._client.head_object(Bucket=self.name, Key=key)
        return None

    def _upload(self, upload: Upload, pool: ThreadPoolExecutor) -> None:
        size_bytes = upload.file.stat().st_size
        found = self._head(upload.key)
        if found and (found["ContentLength"], found["Metadata"].get(_SHA256)) == (size_bytes, upload.sha256):
            return
        if size_bytes <= _PART_BYTES:
            self.put(upload.key, upload.file.read_bytes())
            return
        self._upload_parts(upload, size_bytes, pool)
        if self.sha256(upload.key) != upload.sha256:  # the one that was gone on with was begun for other bytes
            self.delete([upload.key])
            self._abort(self._unfinished_of(upload.key))  # and there may be more such
            self._upload_parts(upload, size_bytes, pool)

    def _upload_parts(self, upload: Upload, size_bytes: int, pool: ThreadPoolExecutor) -> None:
        bucket, key = self.name, upload.key
        with self._translated(key):
            begun = self._begun(key)
            upload_id = begun or self._create(upload)

            def send(number: int) -> "CompletedPartTypeDef":
                data = _part(upload.file, number)
                md5 = hashlib.md5(data, usedforsecurity=False).digest()
                tag = f'"{md5.hex()}"'
                if there.get(number) != tag:
                    tag = self._client.upload_part(
                        Bucket=bucket,
                        Key=key,
                        UploadId=upload_id,
                        PartNumber=number,
                        Body=data,
                        ContentMD5=_base64(md5),
                    )["ETag"]
                return {"PartNumber": number, "ETag": tag}

            try:
                there = self._parts(key, begun) if begun else {}
                parts = list(pool.map(send, range(1, -(-size_bytes // _PART_BYTES) + 1)))
                self._client.complete_multipart_upload(
                    Bucket=bucket, Key=key, UploadId=upload_id, MultipartUpload={"Parts": parts}
                )
            except botocore.exceptions.ClientError:
                # Another publisher of the same bytes may have finished the upload that both were at.
                if self.sha256(key) != upload.sha256:
                    raise

    def _create(self, upload: Upload) -> str:
        metadata = {_SHA256: upload.sha256}
        return self._client.create_multipart_upload(Bucket=self.name, Key=upload.key, Metadata=metadata)["UploadId"]

    def _begun(self, key: str) -> str | None:
        """The newest unfinished upload of that object."""
        found = self._unfinished_of(key)
        return max(found, key=lambda each: each["Initiated"])["UploadId"] if found else None

    def _parts(self, key: str, upload_id: str) -> dict[int, str]:
        """The tags of the parts that have arrived, by number."""
        pages = self._client.get_paginator("list_parts").paginate(Bucket=self.name, Key=key, UploadId=upload_id)
        return {each["PartNumber"]: each["ETag"] for page in pages for each in page.get("Parts", ())}

    def _unfinished(self, prefix: str) -> "list[MultipartUploadTypeDef]":
        with self._translated(prefix):
            pages = self._client.get_paginator("list_multipart_uploads").paginate(Bucket=self.name, Prefix=prefix)
            return [each for page in pages for each in page.get("Uploads", ())]

    def _unfinished_of(self, key: str) -> "list[MultipartUploadTypeDef]":
        return [each for each in self._unfinished(key) if each["Key"] == key]

    def _place(self, key: str) -> str:
        return f"s3://{self.name}/{key}"

    def _translated(self, key: str) -> AbstractContextManager[None]:
        return s3_errors(self.name, self._place(key))


def _base64(digest: bytes) -> str:
    return base64.b64encode(digest).decode()


def _part(file: Path, number: int) -> bytes:
    with file.open("rb") as stream:
        stream.seek((number - 1) * _PART_BYTES)
        return stream.read(_PART_BYTES)


@contextmanager
def _threads(name: str) -> Iterator[ThreadPoolExecutor]:
    """Threads that, after a failure, begin nothing more."""
    pool = ThreadPoolExecutor(_AT_ONCE, name)
    try:
        yield pool
    finally:
        pool.shutdown(cancel_futures=True)
