"""Whether the files of a servable are the ones that were sealed."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

from serving.servable.layout import EXTRA, MANIFEST, published_path
from serving.servable.manifest import FileEntry, Manifest, files_below, parse_manifest
from slipway.errors import IntegrityError, UnavailableError
from slipway.files import sha256_bytes, sha256_file


def verify_bundle(bundle: Path, expected_digest: str | None, origin: str | None = None) -> Manifest:
    """The manifest of `bundle`, every file of which is present and whole, and beside which there is no other.

    `expected_digest` is the manifest's own, or None to trust the manifest that is there; `origin` names the bundle
    in messages. IntegrityError names the first file that is not as it was sealed.
    """
    remedy = "Fetch the servable again; if it stays so, its stored copy is damaged: restore it, or train a new version."
    return _verify(_Place(bundle, MANIFEST, str, origin or str(bundle), remedy), expected_digest)


def verify_published(
    version_dir: Path,
    expected_digest: str | None,
    digest: Callable[[Path], str] = sha256_file,
    which: Callable[[str], bool] = lambda _path: True,
) -> Manifest:
    """`verify_bundle`, for a bundle that is published in `version_dir`; `digest` reads a file as `sha256_file` does.

    `which` takes a file's path below the bundle: the content of those that it denies is not read, only their size.
    """
    remedy = "Move the directory away and publish the version again."
    place = _Place(version_dir, f"{EXTRA}/{MANIFEST}", published_path, str(version_dir), remedy, digest, which)
    return _verify(place, expected_digest)


def check_nothing_added(manifest: Manifest, present: Iterable[str], place: str) -> None:
    """IntegrityError if one of the files `present` below a version directory is not of the servable."""
    expected = {published_path(path) for path in (*manifest.files, MANIFEST)}
    for path in sorted(set(present) - expected):
        raise IntegrityError(
            f"{place}: file {path!r} is not in the manifest; expected only files that were sealed. Move it away, or "
            "publish the version again."
        )


@dataclass(frozen=True)
class _Place:
    """A directory with a servable in it: where its files lie, and how to speak about it."""

    root: Path
    manifest: str
    locate: Callable[[str], str]
    origin: str
    remedy: str
    digest: Callable[[Path], str] = sha256_file
    which: Callable[[str], bool] = lambda _path: True  # whose content is read

    def failure(self, path: str, found: str) -> IntegrityError:
        return IntegrityError(f"{self.origin}: file {path!r} {found}. {self.remedy}")


def _verify(place: _Place, expected_digest: str | None) -> Manifest:
    try:
        present = set(files_below(place.root, place.origin))
        if place.manifest not in present:
            raise place.failure(place.manifest, "is missing; expected the sealed servable's manifest")
        data = (place.root / place.manifest).read_bytes()
        digest = sha256_bytes(data)
        if expected_digest is not None and digest != expected_digest:
            raise place.failure(place.manifest, f"has sha256 {digest}; expected {expected_digest}")
        manifest = parse_manifest(data, f"{place.origin}: file {place.manifest!r}")
        expected = {place.locate(path): path for path in manifest.files}
        for path in sorted(present - expected.keys() - {place.manifest}):
            raise place.failure(path, "is not in the manifest; expected only files that were sealed")
        for path, sealed in sorted(expected.items()):
            _check_file(place, path, manifest.files[sealed], present, whole=place.which(sealed))
    except OSError as error:
        raise UnavailableError(
            f"{place.origin}: {error.filename or place.root} cannot be read ({error.strerror}); expected a readable "
            "servable. Check its permissions and its disk, then run the same command again."
        ) from error
    return manifest


def _check_file(place: _Place, path: str, entry: FileEntry, present: set[str], *, whole: bool) -> None:
    if path not in present:
        raise place.failure(path, f"is missing; expected {entry.size_bytes} bytes")
    size_bytes = (place.root / path).stat().st_size
    if size_bytes != entry.size_bytes:
        raise place.failure(path, f"has {size_bytes} bytes; expected {entry.size_bytes}")
    if whole and (digest := place.digest(place.root / path)) != entry.sha256:
        raise place.failure(path, f"has sha256 {digest}; expected {entry.sha256}")
