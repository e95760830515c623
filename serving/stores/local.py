"""A store in a local directory, or on a mounted file system.

A version is fetched, verified and arranged in a staging directory on the same file system, made durable, and appears
by one rename. Its bytes are written once, hashed once, and moved thereafter.
"""

import errno
import fcntl
import os
import re
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import unquote, urlsplit

from serving.servable.layout import EXTRA, MANIFEST, check_relative_path, published_path
from serving.servable.manifest import Manifest, verify_bundle, verify_published
from serving.stores import Bundle, Publication
from serving.stores.staging import staging_directory, sweep
from slipway.errors import ConflictError, InputError, NotFoundError, UnavailableError
from slipway.files import fsync_path, sha256_file, write_atomically
from slipway.names import check_model_name, check_version

_VERSION = re.compile("[1-9][0-9]{0,17}")
_LOCK = ".lock"  # held while a file is updated; stays in the base path
_LOCK_WAIT_S = 10.0
_FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
_FORBIDDEN = {errno.EROFS, errno.EACCES, errno.EPERM, errno.ENOTDIR, errno.EISDIR, errno.EEXIST, errno.ENAMETOOLONG}


class LocalStore:
    """`Store` in the directory `base`, a path or a `file://` URI.

    The first publication makes the directory if its parent is there; a missing parent may be a missing mount.
    """

    def __init__(self, base: str) -> None:
        self._base = local_path(base)

    def publish(self, name: str, version: int, bundle: Bundle) -> Publication:
        """See `Store`."""
        parent, version_dir = self._version_dir(name, version)
        with _errors(self._base):
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
                    if _appear(staging / "version", version_dir):
                        return Publication(str(version_dir), created=True, manifest=manifest)
            manifest = _verify_present(version_dir, bundle.manifest_digest)
            fsync_path(parent)  # whoever renamed it may have died before this
        return Publication(str(version_dir), created=False, manifest=manifest)

    def verify(self, name: str, version: int, manifest_digest: str) -> Manifest:
        """See `Store`."""
        _, version_dir = self._version_dir(name, version)
        with _errors(self._base):
            _check_base(self._base)
            if not os.path.lexists(version_dir):
                raise NotFoundError(
                    f"{version_dir}: {name} version {version} is not published; expected its version directory. "
                    f"Publish it with export --version {version}."
                )
            return verify_published(version_dir, manifest_digest)

    def versions(self, name: str) -> tuple[int, ...]:
        """See `Store`."""
        directory = self._base / check_model_name(name)
        with _errors(self._base):
            if not directory.is_dir():
                return ()
            names = [entry.name for entry in os.scandir(directory) if entry.is_dir()]
        return tuple(sorted(int(name) for name in names if _VERSION.fullmatch(name)))

    def update_file(self, relative_path: str, update: Callable[[bytes | None], bytes | None]) -> bytes | None:
        """See `Store`."""
        path = self._base / check_relative_path(relative_path)
        with _errors(path):
            present = _content(path)
            if update(present) == present:
                return present
            _check_base(self._base)
            with _locked(self._base / _LOCK):
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


@contextmanager
def _locked(lock: Path) -> Iterator[None]:
    descriptor = os.open(lock, os.O_RDWR | os.O_CREAT, 0o644)
    try:
        deadline = time.monotonic() + _LOCK_WAIT_S
        while True:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if time.monotonic() > deadline:
                    raise UnavailableError(
                        f"{lock}: held by another process for {_LOCK_WAIT_S:.0f} s; expected an update to take "
                        "milliseconds. Look for a stopped Slipway process (fuser), end it, and run this again."
                    ) from None
                time.sleep(0.02)
        yield
    finally:
        os.close(descriptor)


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


@contextmanager
def _errors(path: Path) -> Iterator[None]:
    """Translate what the operating system says, once, at the door."""
    try:
        yield
    except OSError as error:
        number = _error_number(error)
        text = os.strerror(number) if number else " ".join(str(error).split())
        reason = f"{error.filename or path}: {text}"
        if number in _FULL:
            raise UnavailableError(
                f"{reason}; expected room for the whole version. Free some below {path}, then run the same command "
                "again; nothing half written stays."
            ) from error
        if number in _FORBIDDEN:
            raise InputError(
                f"{reason}; expected a directory that this user can read and write, {path}. Mend its permissions or "
                "pass another --base."
            ) from error
        raise UnavailableError(
            f"{reason}; expected to work below {path}. Mend what it names, then run the same command again."
        ) from error


def _error_number(error: OSError) -> int | None:
    """The error's number; shutil.Error, which copying a tree raises, has only the texts of the errors it met."""
    if error.errno is not None:
        return error.errno
    return next((number for number in sorted(_FULL | _FORBIDDEN) if os.strerror(number) in str(error)), None)
