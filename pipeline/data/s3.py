"""A folder or a CSV manifest in S3 as a source: listed by the rules of the local kinds, each object fetched once.

An object's file below the working directory is named by the digest of its place, tag and size. So what is there under
its name is whole, whoever fetched it and however that ended; what has changed in S3 has another name; and no key, of
whatever making, names a file of this machine.
"""

import json
import posixpath
import sys
from collections.abc import Collection, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING

from pipeline.data.folder import add_file, is_passed_over, refuse
from pipeline.data.listing import Listing, no_source
from pipeline.data.manifest import list_manifest
from serving.stores.staging import staging_directory, sweep
from slipway.errors import UnavailableError
from slipway.files import sha256_bytes

if TYPE_CHECKING:
    from serving.stores.s3_listing import Listed, ListedBucket

_AT_ONCE = 16


def list_s3(source: str, workdir: Path) -> Listing:
    """List the images at `source`, s3://BUCKET/FOLDER or s3://BUCKET/FILE.csv, having fetched them below `workdir`.

    InputError if there is nothing; UnavailableError if S3 does not answer, or the disk is full: what has been fetched
    is kept, and the next call goes on.
    """
    from serving.stores.s3_listing import ListedBucket

    bucket, _, key = source.removeprefix("s3://").partition("/")
    kept = _Kept(ListedBucket(bucket), workdir / "s3")
    single = kept.find(key) if key and not key.endswith("/") else None
    if key.lower().endswith(".csv") and single is not None:
        kept.fetch([single])
        listing = list_manifest(single, source, lambda path: kept.named_by(key, path))
    else:
        prefix = key.strip("/")
        listing = kept.folder(f"s3://{bucket}/{prefix}".rstrip("/"), f"{prefix}/" if prefix else "")
        if not (listing.labels or listing.candidates or listing.problems):
            raise no_source(source, "does not exist" if single is None else "is neither a folder nor a CSV file")
    kept.fetch([candidate.file for candidate in listing.candidates])
    return listing


class _Kept:
    """Objects of a bucket as files below `folder`."""

    def __init__(self, bucket: "ListedBucket", folder: Path) -> None:
        self._bucket = bucket
        self._folder = folder
        self._known: dict[Path, Listed] = {}
        self._listed: dict[str, dict[str, Listed]] = {}  # the objects of a prefix, without those further inside

    def folder(self, place: str, prefix: str) -> Listing:
        """The images below a prefix. A key that ends in a slash stands for a folder, as consoles make them."""
        listing = Listing(place)
        for each in self._bucket.objects(prefix):
            path = each.key.removeprefix(prefix)
            parts = path.removesuffix("/").split("/")
            if not path:
                continue
            if {"", ".", ".."} & set(parts) or "\0" in path:
                fault = "has a name that no file can have; expected no empty part, '.' or '..'. Rename the object."
                refuse(path, fault, listing)
                continue
            if "/" in path and not is_passed_over(parts[0]):
                listing.labels.add(parts[0])
            if not path.endswith("/") and not any(map(is_passed_over, parts)):
                add_file(path, self._file(each), listing)
        return listing

    def named_by(self, manifest: str, path: str) -> Path | None:
        """Where the image is that the manifest with the key `manifest` names by `path`; None if that leaves the bucket.

        One that is not there is a file that does not exist.
        """
        key = posixpath.normpath(posixpath.join(posixpath.dirname(manifest), path))
        if path.startswith("/") or key.split("/")[0] == "..":
            return None
        return self.find(key) or self._folder / "missing" / sha256_bytes(key.encode(errors="surrogatepass"))

    def find(self, key: str) -> Path | None:
        """Where an object is to be; None if there is none."""
        parent = f"{folder}/" if (folder := posixpath.dirname(key)) else ""
        if parent not in self._listed:
            self._listed[parent] = {each.key: each for each in self._bucket.objects(parent, inside=False)}
        found = self._listed[parent].get(key)
        return None if found is None else self._file(found)

    def fetch(self, files: Collection[Path]) -> None:
        """Have the objects there that these files are to be; what is there stays. Shows progress on standard error."""
        missing = [file for file in dict.fromkeys(files) if self._is_missing(file)]
        if not missing:
            return
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            sweep(self._folder)
            with staging_directory(self._folder) as staging:
                self._fetch_all(missing, staging)
        except OSError as error:
            raise UnavailableError(
                f"{error.filename or self._folder}: {error.strerror or error}; expected room for the images. Make "
                "some, or pass another --workdir, then run the same command again: what was fetched is kept."
            ) from error

    def _fetch_all(self, missing: Sequence[Path], staging: Path) -> None:
        import click

        def fetch(file: Path) -> None:
            aside = staging / file.name
            self._bucket.fetch(self._known[file], aside)
            aside.chmod(0o444)  # its name says what it holds
            file.parent.mkdir(exist_ok=True)
            aside.replace(file)

        label = f"fetching {len(missing):,} objects of s3://{self._bucket.name}"
        pool = ThreadPoolExecutor(_AT_ONCE, "s3")
        try:
            done = pool.map(fetch, missing)
            with click.progressbar(
                done, length=len(missing), label=label, file=sys.stderr, update_min_steps=max(1, len(missing) // 200)
            ) as fetched:
                for _ in fetched:
                    pass
        finally:
            pool.shutdown(cancel_futures=True)

    def _file(self, listed: "Listed") -> Path:
        where = [self._bucket.server, self._bucket.name, listed.key, listed.tag, listed.size_bytes]
        digest = sha256_bytes(json.dumps(where).encode())
        file = self._folder / digest[:2] / digest
        self._known[file] = listed
        return file

    def _is_missing(self, file: Path) -> bool:
        listed = self._known.get(file)  # what is not there in S3 either is found when the images are opened
        return listed is not None and not (file.is_file() and file.stat().st_size == listed.size_bytes)
