"""A bucket as its server lists it: what is there, since when, and which content it is."""

import hashlib
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from serving.stores.s3_bucket import _SHA256, Bucket
from serving.stores.s3_errors import ObjectError
from slipway.errors import ConflictError, IntegrityError, NotFoundError, UnavailableError

if TYPE_CHECKING:
    from types_boto3_s3.type_defs import GetObjectOutputTypeDef

_BLOCK_BYTES = 2**20
_PAUSES_S = (0.5, 1.0)
_MD5_DIGITS = 32
_Answer = TypeVar("_Answer")


@dataclass(frozen=True)
class Listed:
    """An object, or an upload of one that is not finished."""

    key: str
    size_bytes: int  # of an upload: of the parts that have arrived
    idle_s: float  # since it was last written to, by the server's own clock
    tag: str = ""  # an object's ETag, without quotes: another content has another one


class ListedBucket(Bucket):
    """`Bucket`, and what its server tells of its objects."""

    @property
    def server(self) -> str:
        """The address of the server that is asked."""
        return self._client.meta.endpoint_url

    def objects(self, prefix: str, *, inside: bool = True) -> Iterator[Listed]:
        """The objects whose keys begin with `prefix`, by key; without `inside`, those with no further `/` in them."""
        more: dict[str, Any] = {} if inside else {"Delimiter": "/"}
        pages = self._client.get_paginator("list_objects_v2").paginate(Bucket=self.name, Prefix=prefix, **more)
        with self._translated(prefix):
            for page in pages:
                now = _now(page)
                for each in page.get("Contents", ()):
                    idle_s = (now - each["LastModified"]).total_seconds()
                    yield Listed(each["Key"], each["Size"], idle_s, each["ETag"].strip('"'))

    def uploads(self, prefix: str) -> Iterator[Listed]:
        """The unfinished uploads of objects whose keys begin with `prefix`."""
        pages = self._client.get_paginator("list_multipart_uploads").paginate(Bucket=self.name, Prefix=prefix)
        with self._translated(prefix):
            for page in pages:
                now = _now(page)
                for each in page.get("Uploads", ()):
                    # One that ends meanwhile is none any more.
                    with suppress(NotFoundError):
                        size_bytes, touched = self._arrived(each["Key"], each["UploadId"], each["Initiated"])
                        yield Listed(each["Key"], size_bytes, (now - touched).total_seconds())

    def fetch(self, listed: Listed, file: Path, largest_bytes: int | None = None) -> None:
        """Write an object to `file`, its bytes compared with what is said of them: our SHA-256, or the MD5 in its tag.

        ConflictError if it is not the one that was listed any more. Without a tag it may be any, and NotFoundError says
        that there is none. IntegrityError for other bytes, or more than `largest_bytes`.
        """
        found, said = self._patiently(lambda: self._fetch(listed, file, largest_bytes))
        if said and found.hexdigest() != said:
            raise IntegrityError(
                f"s3://{self.name}/{listed.key}: its bytes have {found.name} {found.hexdigest()}; expected "
                f"{said}, as the server says. Put the object there again."
            )

    def section(self, listed: Listed, first: int, end: int) -> bytes:
        """The bytes [first, end) of an object, none of them beyond its size.

        ConflictError if it is not the one that was listed any more.
        """
        return self._patiently(lambda: self._section(listed, first, end))

    def _patiently(self, ask: Callable[[], _Answer]) -> _Answer:
        """What is answered, if not at once then a little later; what an object's own fault is, at once."""
        for pause_s in _PAUSES_S:
            try:
                return ask()
            except ObjectError:
                raise
            except UnavailableError:
                time.sleep(pause_s)
        return ask()

    def _fetch(self, listed: Listed, file: Path, largest_bytes: int | None) -> "tuple[hashlib._Hash, str]":
        """The digest of the bytes that have come, and what it should be."""
        with self._object(listed) as found:
            if largest_bytes is not None and found["ContentLength"] > largest_bytes:
                raise IntegrityError(
                    f"s3://{self.name}/{listed.key}: has {found['ContentLength']} bytes; expected {largest_bytes} at "
                    "most. Put a smaller object there."
                )
            digest, said = _digest(found)
            _write(found, file, digest)
        return digest, said

    def _section(self, listed: Listed, first: int, end: int) -> bytes:
        with self._object(listed, Range=f"bytes={first}-{end - 1}") as found:
            if found["ContentLength"] != end - first:
                raise IntegrityError(
                    f"s3://{self.name}/{listed.key}: {found['ContentLength']} bytes came of {end - first} that were "
                    "asked for; expected a server that knows ranges. Look which one it is."
                )
            return found["Body"].read()

    @contextmanager
    def _object(self, listed: Listed, **asked: Any) -> "Iterator[GetObjectOutputTypeDef]":
        try:
            with self._translated(listed.key):
                found = self._client.get_object(Bucket=self.name, Key=listed.key, **asked)
                with closing(found["Body"]):
                    whole_bytes = int(found.get("ContentRange", f"/{found['ContentLength']}").rpartition("/")[2])
                    if listed.tag and (found["ETag"].strip('"'), whole_bytes) != (listed.tag, listed.size_bytes):
                        raise self._moved_on(listed)
                    yield found
        except NotFoundError as error:
            if not listed.tag:
                raise
            raise self._moved_on(listed) from error

    def _arrived(self, key: str, upload_id: str, begun: datetime) -> tuple[int, datetime]:
        """The bytes of an unfinished upload, and when the last of them came."""
        with self._translated(key):
            pages = self._client.get_paginator("list_parts").paginate(Bucket=self.name, Key=key, UploadId=upload_id)
            parts = [part for page in pages for part in page.get("Parts", ())]
        return sum(part["Size"] for part in parts), max([begun, *(part["LastModified"] for part in parts)])

    def _moved_on(self, listed: Listed) -> ConflictError:
        return ConflictError(
            f"s3://{self.name}/{listed.key}: changed while it was read; expected it to stay as it was listed. Run the "
            "same command again: what was fetched is kept."
        )


def _now(page: Mapping[str, Any]) -> datetime:
    """The server's time: this machine's may be another."""
    said = page["ResponseMetadata"]["HTTPHeaders"].get("date")
    return parsedate_to_datetime(said) if said else datetime.now(UTC)


def _digest(found: "GetObjectOutputTypeDef") -> "tuple[hashlib._Hash, str]":
    """A digest to be fed with the object's bytes, and what it should come to; "" where nothing is said."""
    if sealed := found["Metadata"].get(_SHA256):
        return hashlib.sha256(), sealed
    tag = found["ETag"].strip('"')
    encrypted = found.get("SSECustomerAlgorithm") or found.get("ServerSideEncryption", "AES256") != "AES256"
    # Of parts, and of what a key service encrypts, the tag is no digest of the bytes.
    return hashlib.md5(usedforsecurity=False), "" if encrypted or len(tag) != _MD5_DIGITS else tag


def _write(found: "GetObjectOutputTypeDef", file: Path, digest: "hashlib._Hash") -> None:
    with file.open("wb") as stream:
        for block in found["Body"].iter_chunks(_BLOCK_BYTES):
            digest.update(block)
            stream.write(block)
