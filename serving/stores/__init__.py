"""Where published version directories lie: a base path that model servers read.

A store is one file and one row in `STORES`; the contract test adopts it by itself.
"""

import importlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol
from urllib.parse import urlsplit

from serving.servable.manifest import Manifest
from slipway.errors import InputError

STORES = {
    "file": "serving.stores.local:LocalStore",
}


@dataclass(frozen=True)
class Bundle:
    """A servable to publish, which is fetched only if it is not there already."""

    manifest_digest: str
    fetch: Callable[[Path], Path]  # writes the servable below the empty directory it is given, returns its root there


@dataclass(frozen=True)
class Publication:
    """A version that is published, whole."""

    path: str  # of the version directory, as model servers are told it
    created: bool  # False if it was there already
    manifest: Manifest


class Store(Protocol):
    """A base path. Names and versions are checked; errors are Slipway's own."""

    def publish(self, name: str, version: int, bundle: Bundle) -> Publication:
        """Make `bundle` appear as `<base>/<name>/<version>`, whole or not at all, or find it there.

        Kill it at any point and call it again: it finishes the work and removes what the killed one left. Two at once
        both succeed. ConflictError if another servable is there, IntegrityError if the one there, or the one fetched,
        is not as it was sealed; nothing that is there is ever overwritten.
        """
        ...

    def verify(self, name: str, version: int, manifest_digest: str) -> Manifest:
        """The manifest of a published version, every byte of which was compared; IntegrityError, NotFoundError."""
        ...

    def versions(self, name: str) -> tuple[int, ...]:
        """The published versions of `name`, rising; none for a name that is not there."""
        ...

    def update_file(self, relative_path: str, update: Callable[[bytes | None], bytes | None]) -> bytes | None:
        """Replace a small file by what `update` makes of its content (None: no file), as one step; return the result.

        Readers see the old content or the new one; of two updates at once, one sees the other's result. Where `update`
        returns what it was given nothing is written, so an identity reads. It may be called more than once.
        """
        ...


def open_store(base: str) -> Store:
    """The store at `base`: a local path, or a URI whose scheme has a row in `STORES`; InputError for another."""
    scheme = urlsplit(base).scheme if "://" in base else "file"
    if scheme not in STORES:
        raise InputError(
            f"base path {base!r}: unknown scheme {scheme!r}; expected a local path or one of "
            f"{', '.join(f'{known}://' for known in sorted(STORES))}. Edit it or pass --base."
        )
    module, _, name = STORES[scheme].partition(":")
    store: Store = getattr(importlib.import_module(module), name)(base)
    return store
