"""Where published version directories lie: a base path that model servers read.

A store is one file and one row in `STORES`; the contract test adopts it by itself.
"""

import importlib
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol
from urllib.parse import urlsplit

from serving.servable.manifest import FileEntry, Manifest
from slipway.credentials import without_credentials
from slipway.errors import InputError

STORES = {
    "file": "serving.stores.local:LocalStore",
    "s3": "serving.stores.s3:S3Store",
}


@dataclass(frozen=True)
class Bundle:
    """A servable to publish, which is fetched only if it is not there already."""

    manifest_digest: str
    fetch: Callable[[Path], Path]  # writes the servable below the empty directory it is given, returns its root there
    signature: bytes | None = None  # of name, version and manifest; a store keeps it, and judges it not


AtHand = Callable[[FileEntry], Path | None]  # a file on this machine's disk that should have that content
Arrived = Callable[[int], None]  # told how many more bytes have come, by several threads


@dataclass(frozen=True)
class Publication:
    """A version that is published, whole."""

    path: str  # of the version directory, as model servers are told it
    created: bool  # False if it was there already
    manifest: Manifest


@dataclass(frozen=True)
class Leftover:
    """What a publication, or a removal, that did not finish has left; no version that is there."""

    path: str
    version: int | None  # None: that cannot be told
    size_bytes: int
    idle_s: float  # since it was last written to; infinite where nobody can be at it any more
    remove: Callable[[], None]  # ConflictError, and nothing is removed, if somebody has been at it since


class Store(Protocol):
    """A base path. Names and versions are checked; errors are Slipway's own."""

    def model_path(self, name: str) -> str:
        """Where a model's version directories lie, as model servers, or their sync sidecar, are told it."""
        ...

    def publish(self, name: str, version: int, bundle: Bundle) -> Publication:
        """Make `bundle` appear as `<base>/<name>/<version>`, whole or not at all, or find it there.

        Kill it at any point and call it again: it finishes the work and removes what the killed one left. Two at once
        both succeed. ConflictError if another servable is there, IntegrityError if the one there, or the one fetched,
        is not as it was sealed; nothing that is there is ever overwritten, but for the signature.

        The bundle's signature is at `<base>/<name>/<version>.signature.json` before the version appears, and takes the
        place of another one that is there; without one, what is there stays.
        """
        ...

    def verify(self, name: str, version: int, manifest_digest: str) -> Manifest:
        """The manifest of a published version, every byte of which was compared; IntegrityError, NotFoundError."""
        ...

    def signature(self, name: str, version: int) -> bytes | None:
        """The signature that lies beside a published version; None if there is none. Nothing is verified."""
        ...

    def versions(self, name: str) -> tuple[int, ...]:
        """The published versions of `name`, rising; none for a name that is not there."""
        ...

    def digests(self, name: str) -> Mapping[int, str]:
        """The published versions of `name`, and the digest that each one's manifest has, or is said to have.

        "" where nothing is said, and where there is no manifest.
        """
        ...

    def names(self) -> tuple[str, ...]:
        """The models that have published versions."""
        ...

    def bundle(
        self,
        name: str,
        version: int,
        at_hand: AtHand = lambda _entry: None,
        arrived: Arrived = lambda _size_bytes: None,
    ) -> Bundle:
        """A published version with its signature, for another store; NotFoundError if it is not there whole.

        at_hand: asked for each file before it is fetched; what it names is copied instead, and verified as all else.
        """
        ...

    def directory(
        self, name: str, version: int, wanted: Callable[[str], bool] = lambda _path: True
    ) -> AbstractContextManager[Path]:
        """A published version's directory on this machine's disk, `.../NAME/VERSION`, until the block ends.

        wanted: of the files, by their paths below the bundle; others may be missing. NotFoundError if there is no such
        version. Nothing is verified, and nothing may be changed.
        """
        ...

    def remove(self, name: str, version: int) -> None:
        """Have the version there no more, and then its signature.

        Killed at any point, it is not taken for one that is there, and the next call goes on.
        """
        ...

    def leftovers(self, name: str) -> tuple[Leftover, ...]:
        """What of the model's publications and removals did not finish, and may never be gone on with."""
        ...

    def update_file(self, relative_path: str, update: Callable[[bytes | None], bytes | None]) -> bytes | None:
        """Replace a small file by what `update` makes of its content (None: no file), as one step; return the result.

        Readers see the old content or the new one; of two updates at once, one sees the other's result. Where `update`
        returns what it was given nothing is written, so an identity reads. It may be called more than once.
        """
        ...


def signature_file(version: int) -> str:
    """The name of a version's signature, beside the version's directory."""
    return f"{version}.signature.json"


def open_store(base: str) -> Store:
    """The store at `base`: a local path, or a URI whose scheme has a row in `STORES`; InputError for another."""
    scheme = urlsplit(base).scheme if "://" in base else "file"
    if scheme not in STORES:
        raise InputError(
            f"base path {without_credentials(base)!r}: unknown scheme {scheme!r}; expected a local path or one of "
            f"{', '.join(f'{known}://' for known in sorted(STORES))}. Edit it or pass --base."
        )
    module, _, name = STORES[scheme].partition(":")
    store: Store = getattr(importlib.import_module(module), name)(base)
    return store
