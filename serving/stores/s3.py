"""A store in an S3 bucket: any server that speaks the protocol.

S3 has no rename and no lock. So a publication first writes the manifest, which says whose version it is, then the
files, and `saved_model.pb` last: a version is there when both are. A publication that was killed is finished by the
next one, which keeps what has arrived, parts of a large file included, and leaves no unfinished upload behind.
"""

import tempfile
from collections.abc import Callable, Collection, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from urllib.parse import urlsplit

from serving.servable.layout import EXTRA, MANIFEST, check_relative_path, published_path
from serving.servable.manifest import Manifest, parse_manifest
from serving.servable.verification import verify_bundle, verify_published
from serving.stores import Arrived, AtHand, Bundle, Leftover, Publication, signature_file
from serving.stores.s3_bucket import IF_ABSENT, Upload
from serving.stores.s3_fetch import Fetch
from serving.stores.s3_leftovers import Remains, mark, remains
from serving.stores.s3_listing import ListedBucket
from slipway.credentials import without_credentials
from slipway.errors import ConflictError, InputError, IntegrityError, NotFoundError
from slipway.files import sha256_bytes
from slipway.names import check_model_name, check_version, is_model_name, version_of_directory

_LAST = "saved_model.pb"
_CLAIM = f"{EXTRA}/{MANIFEST}"
_HEADS_AT_ONCE = 8
_UPDATES = 50  # of others that come between reading a small file and writing it


class S3Store:
    """`Store` below `s3://BUCKET/PREFIX`; how the bucket is reached, see `Bucket`."""

    def __init__(self, base: str) -> None:
        bucket, self._prefix = _place(base)
        self._base = base.rstrip("/")
        self._bucket = ListedBucket(bucket)

    @property
    def server(self) -> str:
        """The address of the server that is asked."""
        return self._bucket.server

    def model_path(self, name: str) -> str:
        """See `Store`."""
        return f"{self._base}/{check_model_name(name)}"

    def publish(self, name: str, version: int, bundle: Bundle) -> Publication:
        """See `Store`."""
        prefix, place = self._version(name, version)
        if self._is_complete(prefix):
            manifest = self._present(prefix, place, bundle.manifest_digest)
            self._put_signature(name, version, bundle.signature)
            return Publication(place, created=False, manifest=manifest)
        with tempfile.TemporaryDirectory(prefix="slipway-publish-") as scratch:
            fetched = Path(scratch, "fetched")
            fetched.mkdir()
            root = bundle.fetch(fetched)
            manifest = verify_bundle(root, bundle.manifest_digest, f"servable fetched for {name} version {version}")
            files = {
                published_path(path): Upload(prefix + published_path(path), root / path, entry.sha256)
                for path, entry in manifest.files.items()
            }
            if _LAST not in files:
                raise IntegrityError(
                    f"{place}: its servable has no {_LAST}; expected one, by which servers know a whole version. "
                    "Register its run anew."
                )
            claim, last = root / MANIFEST, files.pop(_LAST)
            self._bucket.delete([self._mark(name, version)])  # of a removal that was killed
            self._claim(prefix, place, claim.read_bytes())
            self._bucket.upload(files.values())
            # Not saved_model.pb, if it is there by now: another publisher of the same has come to the end.
            self._remove_others(prefix, {prefix + _CLAIM, last.key, *(file.key for file in files.values())})
            if self._bucket.sha256(prefix + _CLAIM) != bundle.manifest_digest:
                raise _other(place)
            self._put_signature(name, version, bundle.signature)
            created = self._bucket.put(last.key, last.file.read_bytes(), IF_ABSENT)
            if created:
                keys = {prefix + _CLAIM, last.key, *(file.key for file in files.values())}
                self._check_nothing_went(prefix, place, keys)
        self._bucket.abort_uploads(prefix)
        if not created:
            self._present(prefix, place, bundle.manifest_digest)
        return Publication(place, created, manifest)

    def verify(self, name: str, version: int, manifest_digest: str) -> Manifest:
        """See `Store`."""
        with self._copied(self._published(name, version)) as directory:
            return verify_published(directory, manifest_digest)

    def signature(self, name: str, version: int) -> bytes | None:
        """See `Store`."""
        return self._bucket.read(self._signature_key(name, version))[0]

    def versions(self, name: str) -> tuple[int, ...]:
        """See `Store`."""
        return tuple(self.digests(name))

    def digests(self, name: str) -> Mapping[int, str]:
        """See `Store`."""
        below = f"{self._prefix}{check_model_name(name)}/"
        numbers = sorted(filter(None, map(version_of_directory, self._bucket.folders(below))))
        with ThreadPoolExecutor(_HEADS_AT_ONCE) as pool:
            said = pool.map(lambda number: self._said(f"{below}{number}/"), numbers)
            return {number: digest for number, digest in zip(numbers, said, strict=True) if digest is not None}

    def names(self) -> tuple[str, ...]:
        """See `Store`."""
        return tuple(
            sorted(each for each in self._bucket.folders(self._prefix) if is_model_name(each) and self.versions(each))
        )

    def bundle(
        self,
        name: str,
        version: int,
        at_hand: AtHand = lambda _entry: None,
        arrived: Arrived = lambda _size_bytes: None,
    ) -> Bundle:
        """See `Store`."""
        prefix, place = self._published(name, version), f"{self._base}/{name}/{version}"
        claim = self._bucket.read(prefix + _CLAIM)[0] or b""
        manifest = parse_manifest(claim, f"{place}/{_CLAIM}")
        fetch = Fetch(self._bucket, prefix, place, claim, manifest, at_hand, arrived)
        return Bundle(sha256_bytes(claim), fetch, self.signature(name, version))

    @contextmanager
    def directory(self, name: str, version: int, wanted: Callable[[str], bool] = lambda _path: True) -> Iterator[Path]:
        """See `Store`."""
        prefix = self._published(name, version)
        claim, _ = self._bucket.read(prefix + _CLAIM)
        paths = {published_path(path) for path in parse_manifest(claim or b"", prefix + _CLAIM).files if wanted(path)}
        with self._copied(prefix, paths | {_CLAIM}) as directory:
            yield directory

    def leftovers(self, name: str) -> tuple[Leftover, ...]:
        """See `Store`."""
        found = self._remains(name)
        return tuple(left for version, each in found.items() for left in self._left(name, version, each))

    def remove(self, name: str, version: int) -> None:
        """See `Store`. What says that it is being removed is there first, and goes last."""
        prefix, _ = self._version(name, version)
        self._bucket.put(self._mark(name, version), b"")
        self._bucket.delete([prefix + _LAST])
        self._remove_others(prefix, {prefix + _CLAIM})
        # Once more: a publisher that had not seen the mark may have come to its end meanwhile.
        self._bucket.delete([prefix + _LAST, prefix + _CLAIM])
        self._bucket.abort_uploads(prefix)
        self._bucket.delete([self._signature_key(name, version)])
        self._bucket.delete([self._mark(name, version)])

    def update_file(self, relative_path: str, update: Callable[[bytes | None], bytes | None]) -> bytes | None:
        """See `Store`. What comes between reading and writing is seen where the server heeds conditions."""
        key = self._prefix + check_relative_path(relative_path)
        for _ in range(_UPDATES):
            present, condition = self._bucket.read(key)
            content = update(present)
            if content == present:
                return content
            if content is None:
                self._bucket.delete([key])
                return content
            if self._bucket.put(key, content, condition):
                return content
        raise ConflictError(
            f"{self._base}/{relative_path}: changed by others {_UPDATES} times while it was to be updated; expected "
            "one writer at a time. Look for a second reconciler with another database, end it, and run this again."
        )

    def _version(self, name: str, version: int) -> tuple[str, str]:
        below = f"{check_model_name(name)}/{check_version(version)}"
        return f"{self._prefix}{below}/", f"{self._base}/{below}"

    def _signature_key(self, name: str, version: int) -> str:
        return f"{self._prefix}{check_model_name(name)}/{signature_file(check_version(version))}"

    def _mark(self, name: str, version: int) -> str:
        return f"{self._prefix}{check_model_name(name)}/{mark(check_version(version))}"

    def _left(self, name: str, version: int, found: Remains) -> Iterator[Leftover]:
        prefix, place = self._version(name, version)

        def unless_touched(removal: Callable[[], None]) -> None:
            if not self._remains(name).get(version, Remains()).is_still(found):
                raise ConflictError(
                    f"{place}: somebody has written there since it was looked at; expected what was left to lie "
                    "still. It stays: run the same command again."
                )
            removal()

        whole, claimed = {_LAST, _CLAIM} <= found.objects.keys(), _CLAIM in found.objects
        if not whole and (claimed or found.marked):
            remove = partial(unless_touched, partial(self.remove, name, version))
            yield Leftover(place, version, found.size_bytes, found.idle_s, remove)
        elif found.uploads:  # beside a version that is there, or beside files that are not ours
            size_bytes = sum(each.size_bytes for each in found.uploads)
            idle_s = min(each.idle_s for each in found.uploads)
            remove = partial(unless_touched, partial(self._bucket.abort_uploads, prefix))
            yield Leftover(place, version, size_bytes, idle_s, remove)

    def _remains(self, name: str) -> Mapping[int, Remains]:
        below = f"{self._prefix}{check_model_name(name)}/"
        return remains(below, self._bucket.objects(below), self._bucket.uploads(below))

    def _put_signature(self, name: str, version: int, signature: bytes | None) -> None:
        if signature is not None and signature != self.signature(name, version):
            self._bucket.put(self._signature_key(name, version), signature)

    def _published(self, name: str, version: int) -> str:
        """The keys' prefix of a version that is there; NotFoundError if it is not."""
        prefix, place = self._version(name, version)
        if not self._is_complete(prefix):
            raise NotFoundError(
                f"{place}: {name} version {version} is not published; expected its version directory. "
                f"Publish it with export --version {version}."
            )
        return prefix

    def _is_complete(self, prefix: str) -> bool:
        return self._said(prefix) is not None

    def _said(self, prefix: str) -> str | None:
        """What the manifest's digest is said to be; "" if nothing is said, None if no version is there."""
        return None if self._bucket.sha256(prefix + _LAST) is None else self._bucket.sha256(prefix + _CLAIM)

    def _claim(self, prefix: str, place: str, manifest: bytes) -> None:
        """Have the manifest there before anything else; what another servable has left unfinished goes."""
        key = prefix + _CLAIM
        # In this order: a publisher whose saved_model.pb is there has its manifest there already.
        if self._bucket.sha256(prefix + _LAST) is not None and self._bucket.sha256(key) is None:
            self._bucket.delete([prefix + _LAST])  # nobody's; beside our manifest it would be a version
        if self._bucket.put(key, manifest, IF_ABSENT) or self._bucket.sha256(key) == sha256_bytes(manifest):
            return
        if self._is_complete(prefix):
            raise _other(place)
        self._remove_others(prefix, set())
        self._bucket.put(key, manifest)

    def _check_nothing_went(self, prefix: str, place: str, keys: set[str]) -> None:
        """ConflictError, and the version is not there, if somebody removed files of it while it was published."""
        gone = keys - self._bucket.sizes(prefix).keys()
        if gone:
            self._bucket.delete([prefix + _LAST])
            raise ConflictError(
                f"{place}: {len(gone)} of its files were removed while it was published; expected one or the other. "
                "Look whether `slipway prune` runs, then publish it again."
            )

    def _remove_others(self, prefix: str, keep: set[str]) -> None:
        self._bucket.delete(self._bucket.sizes(prefix).keys() - keep)

    def _present(self, prefix: str, place: str, digest: str) -> Manifest:
        """The manifest of a version that is there, every byte of which was compared."""
        self._bucket.abort_uploads(prefix)  # whoever finished it may have died before this
        present, _ = self._bucket.read(prefix + _CLAIM)
        if present is not None and sha256_bytes(present) != digest:
            raise _other(place)
        with self._copied(prefix) as directory:
            return verify_published(directory, digest)

    @contextmanager
    def _copied(self, prefix: str, paths: Collection[str] | None = None) -> Iterator[Path]:
        """The version directory on this machine's disk, or those files of it, until the block ends."""
        if paths is None:
            paths = [check_relative_path(key.removeprefix(prefix)) for key in self._bucket.sizes(prefix)]
        with tempfile.TemporaryDirectory(prefix="slipway-s3-") as scratch:
            directory = Path(scratch, *prefix.rstrip("/").split("/")[-2:])
            self._bucket.download({prefix + path: directory / path for path in paths})
            yield directory


def _other(place: str) -> ConflictError:
    return ConflictError(
        f"{place}: holds another servable; expected the one that was registered, or nothing. Published versions are "
        "never overwritten: publish under the next version number, or to another base path."
    )


def _place(base: str) -> tuple[str, str]:
    """Bucket and prefix, which is empty or ends with a slash; InputError for another URI."""
    parts = urlsplit(base)
    prefix = parts.path.removeprefix("/").rstrip("/")
    plain = prefix.isprintable() and not {"", ".", ".."} & set(prefix.split("/")) if prefix else True
    if parts.scheme != "s3" or not parts.netloc or parts.query or parts.fragment or not plain:
        raise InputError(
            f"base path {without_credentials(base)!r}: expected s3://BUCKET/PREFIX. Edit it or pass --base."
        )
    return parts.netloc, f"{prefix}/" if prefix else ""
