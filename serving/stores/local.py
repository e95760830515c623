"""A store in a local directory, or on a mounted file system.

A version is fetched, verified and arranged in a staging directory on the same file system, made durable, and appears
by one rename. Its bytes are written once, hashed once, and moved thereafter.
"""

import errno
import math
import os
import shutil
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import unquote, urlsplit

from serving.servable.layout import EXTRA, MANIFEST, check_relative_path, published_path
from serving.servable.manifest import Manifest, read_manifest
from serving.servable.verification import check_nothing_added, verify_bundle, verify_published
from serving.stores import Arrived, AtHand, Bundle, Leftover, Publication, signature_file
from serving.stores.disk_errors import disk_errors
from serving.stores.locking import locked
from serving.stores.staging import abandoned, staging_directory, sweep
from slipway.errors import ConflictError, InputError, NotFoundError
from slipway.files import fsync_path, sha256_file, write_atomically
from slipway.names import check_model_name, check_version, is_model_name, version_of_directory

_LOCK = ".lock"  # held while a file is updated; stays in the base path


class LocalStore:
    """`Store` in the directory `base`, a path or a `file://` URI.

    The first publication makes the directory if its parent is there; a missing parent may be a missing mount.
    """

    def __init__(self, base: str) -> None:
        self._base = local_path(base)

    def model_path(self, name: str) -> str:
        """See `Store`."""
        return str(self._base / check_model_name(name))

    def publish(self, name: str, version: int, bundle: Bundle) -> Publication:
        """See `Store`."""
        parent, version_dir = self._version_dir(name, version)
        with disk_errors(self._base):
            if self._base.parent.is_dir() and not os.path.lexists(self._base):
                self._base.mkdir(exist_ok=True)
                fsync_path(self._base.parent)
            _check_base(self._base)
            sweep(parent)
            if not os.path.lexists(version_dir):
                parent.mkdir(exist_ok=True)
                fsync_path(self._base)
                with staging_directory(parent) as staging:
                    manifest = _arrange(bundle, staging, f"servable fetched for {name} version {version}")
                    _put_signature(version_dir, bundle.signature, staging)
                    if _appear(staging / "version", version_dir):
                        return Publication(str(version_dir), created=True, manifest=manifest)
            manifest = _verify_present(version_dir, bundle.manifest_digest)
            if bundle.signature not in {None, _signature(version_dir)}:
                with staging_directory(parent) as staging:
                    _put_signature(version_dir, bundle.signature, staging)
            fsync_path(parent)  # whoever renamed it may have died before this
        return Publication(str(version_dir), created=False, manifest=manifest)

    def verify(self, name: str, version: int, manifest_digest: str) -> Manifest:
        """See `Store`."""
        _, version_dir = self._version_dir(name, version)
        with disk_errors(self._base):
            _check_base(self._base)
            if not os.path.lexists(version_dir):
                raise _absent(version_dir, name, version)
            return verify_published(version_dir, manifest_digest)

    def signature(self, name: str, version: int) -> bytes | None:
        """See `Store`."""
        _, version_dir = self._version_dir(name, version)
        with disk_errors(self._base):
            return _signature(version_dir)

    def versions(self, name: str) -> tuple[int, ...]:
        """See `Store`."""
        directory = self._base / check_model_name(name)
        with disk_errors(self._base):
            if not directory.is_dir():
                return ()
            names = [entry.name for entry in os.scandir(directory) if entry.is_dir()]
        return tuple(sorted(filter(None, map(version_of_directory, names))))

    def digests(self, name: str) -> Mapping[int, str]:
        """See `Store`."""
        manifests = {version: self._version_dir(name, version)[1] / EXTRA / MANIFEST for version in self.versions(name)}
        with disk_errors(self._base):
            return {version: sha256_file(file) if file.is_file() else "" for version, file in manifests.items()}

    def names(self) -> tuple[str, ...]:
        """See `Store`."""
        with disk_errors(self._base):
            found = [entry.name for entry in os.scandir(self._base) if entry.is_dir()] if self._base.is_dir() else []
        return tuple(sorted(name for name in found if is_model_name(name) and self.versions(name)))

    def bundle(
        self,
        name: str,
        version: int,
        at_hand: AtHand = lambda _entry: None,  # noqa: ARG002  all is
        arrived: Arrived = lambda _size_bytes: None,
    ) -> Bundle:
        """See `Store`."""
        _, version_dir = self._version_dir(name, version)
        if not (version_dir / EXTRA / MANIFEST).is_file():
            raise _absent(version_dir, name, version)
        manifest = read_manifest(version_dir / EXTRA / MANIFEST)

        def fetch(into: Path) -> Path:
            files = (path for path in version_dir.rglob("*") if path.is_symlink() or not path.is_dir())
            present = (path.relative_to(version_dir).as_posix() for path in files)
            check_nothing_added(manifest, present, str(version_dir))
            for path in (*manifest.files, MANIFEST):
                (into / path).parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(version_dir / published_path(path), into / path)
                arrived((into / path).stat().st_size)
            return into

        return Bundle(sha256_file(version_dir / EXTRA / MANIFEST), fetch, self.signature(name, version))

    @contextmanager
    def directory(
        self,
        name: str,
        version: int,
        wanted: Callable[[str], bool] = lambda _path: True,  # noqa: ARG002  all are
    ) -> Iterator[Path]:
        """See `Store`."""
        _, version_dir = self._version_dir(name, version)
        if not version_dir.is_dir():
            raise _absent(version_dir, name, version)
        yield version_dir

    def remove(self, name: str, version: int) -> None:
        """See `Store`."""
        parent, version_dir = self._version_dir(name, version)
        with disk_errors(self._base):
            if os.path.lexists(version_dir):
                with staging_directory(parent) as staging:
                    version_dir.rename(staging / "removed")
                    fsync_path(parent)
            (parent / signature_file(version)).unlink(missing_ok=True)
            sweep(parent)

    def leftovers(self, name: str) -> tuple[Leftover, ...]:
        """See `Store`. Whose a staging directory was it does not say; that its publisher is gone the kernel does."""
        parent = self._base / check_model_name(name)
        with disk_errors(self._base):
            found = [(directory, _size_bytes(directory)) for directory in abandoned(parent)]
        return tuple(
            Leftover(str(directory), None, size_bytes, math.inf, lambda: sweep(parent))
            for directory, size_bytes in found
        )

    def update_file(self, relative_path: str, update: Callable[[bytes | None], bytes | None]) -> bytes | None:
        """See `Store`."""
        path = self._base / check_relative_path(relative_path)
        with disk_errors(path):
            present = _content(path)
            if update(present) == present:
                return present
            _check_base(self._base)
            with locked(self._base / _LOCK):
                for leftover in path.parent.glob(f".{path.name}.*"):  # a killed write's; with the lock, ours alone
                    leftover.unlink()
                present = _content(path)
                content = update(present)
                if content is None:
                    path.unlink(missing_ok=True)
                elif content != present:
                    write_atomically(path, content)
                return content

    def _version_dir(self, name: str, version: int) -> tuple[Path, Path]:
        parent = self._base / check_model_name(name)
        return parent, parent / str(check_version(version))


def _absent(version_dir: Path, name: str, version: int) -> NotFoundError:
    return NotFoundError(
        f"{version_dir}: {name} version {version} is not published; expected its version directory. "
        f"Publish it with export --version {version}."
    )


def _arrange(bundle: Bundle, staging: Path, origin: str) -> Manifest:
    """Make `staging/version` the published form of `bundle`: fetched, verified, durable."""
    fetched = staging / "fetched"
    fetched.mkdir()
    root = bundle.fetch(fetched)
    if not root.resolve().is_relative_to(fetched.resolve()):
        raise ValueError(f"fetch returned {root}; expected the servable's root below {fetched}")
    with ThreadPoolExecutor(1, "fsync") as beside:
        durable = beside.submit(_make_durable, root)
        manifest = verify_bundle(root, bundle.manifest_digest, origin)
        durable.result()
    version = staging / "version"
    moves = {path: version / published_path(path) for path in manifest.files}
    moves[MANIFEST] = version / EXTRA / MANIFEST
    for path, target in moves.items():
        target.parent.mkdir(parents=True, exist_ok=True)
        (root / path).rename(target)
    for directory in sorted({parent for target in moves.values() for parent in target.relative_to(version).parents}):
        fsync_path(version / directory)
    return manifest


def _make_durable(root: Path) -> None:
    for file in sorted(path for path in root.rglob("*") if path.is_file() and not path.is_symlink()):
        file.chmod(0o644)  # servers read as other users
        fsync_path(file)


def _size_bytes(directory: Path) -> int:
    return sum(path.lstat().st_size for path in directory.rglob("*") if not path.is_dir())


def _signature(version_dir: Path) -> bytes | None:
    return _content(version_dir.with_name(signature_file(int(version_dir.name))))


def _put_signature(version_dir: Path, signature: bytes | None, staging: Path) -> None:
    """Have the signature beside the version, durably and whole: by a rename from where a killed one is swept up."""
    if signature is not None:
        made_ready = staging / "signature"
        write_atomically(made_ready, signature)
        made_ready.rename(version_dir.with_name(signature_file(int(version_dir.name))))
        fsync_path(version_dir.parent)


def _appear(made_ready: Path, version_dir: Path) -> bool:
    """Rename, so that the version is there whole or not at all; False if another publisher was first."""
    try:
        made_ready.rename(version_dir)
    except OSError as error:
        if error.errno in {errno.ENOTEMPTY, errno.EEXIST, errno.ENOTDIR}:
            return False
        raise
    fsync_path(version_dir.parent)
    return True


def _verify_present(version_dir: Path, manifest_digest: str) -> Manifest:
    manifest_file = version_dir / EXTRA / MANIFEST
    if manifest_file.is_file() and (digest := sha256_file(manifest_file)) != manifest_digest:
        raise ConflictError(
            f"{version_dir}: holds another servable (manifest {digest}); expected {manifest_digest}, or nothing. "
            "Published versions are never overwritten: publish under the next version number, or to another base path."
        )
    return verify_published(version_dir, manifest_digest)


def _content(path: Path) -> bytes | None:
    try:
        return path.read_bytes()
    except FileNotFoundError:
        return None


def local_path(base: str) -> Path:
    """The directory that `base`, a path or a `file://` URI, stands for; InputError if it stands for none here."""
    if not base.strip() or "\0" in base:
        raise InputError(f"base path {base!r}: expected a directory. Edit it or pass --base.")
    if "://" not in base:
        return Path(base).absolute()
    parts = urlsplit(base)
    if parts.netloc not in {"", "localhost"} or not parts.path:
        raise InputError(f"base path {base!r}: expected file:///DIRECTORY, on this machine. Edit it or pass --base.")
    return Path(unquote(parts.path))


def _check_base(base: Path) -> None:
    if not base.exists():
        raise NotFoundError(
            f"base path {base} does not exist; expected a directory. Mount it, or create it with mkdir -p {base}"
        )
    if not base.is_dir():
        raise InputError(f"base path {base} is a file; expected a directory. Pass another --base.")
