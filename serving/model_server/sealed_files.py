"""The files of a version that has a manifest: verified before they are used, and those that are not used, later."""

from collections.abc import Callable, Collection
from pathlib import Path

from serving.model_server.signatures import Signatures
from serving.servable.layout import (
    GOLDEN,
    LABELS,
    MANIFEST,
    REFERENCE_VARIANT,
    SAVED_MODEL,
    VARIANTS,
    published_path,
    variant_path,
)
from serving.servable.verification import verify_published
from serving.servable.warmup import WARMUP_FILE
from slipway.files import sha256_file

_BY_ALL = (f"{SAVED_MODEL}/saved_model.pb", LABELS, f"{GOLDEN}/")  # signatures, labels, golden requests


class SealedFiles:
    """The files of one published version, by what reads them.

    To make it is to verify that every file is there, in its size, and no other; and the content of those that whatever
    answers needs. What is verified is verified by the one manifest that was there at first. Every method raises
    IntegrityError for the first file that is not as it was sealed, UnavailableError for one that cannot be read.
    """

    def __init__(
        self, version_directory: Path, digest: Callable[[Path], str], signatures: Signatures | None = None
    ) -> None:
        """signatures: judges the manifest first, and by it all that it lists."""
        self._directory = version_directory
        self._digest = digest
        self._manifest_digest = sha256_file(version_directory / published_path(MANIFEST))
        if signatures is not None:
            signatures.check(version_directory, self._manifest_digest)
        self._verified: set[str] = set()
        self.manifest = verify_published(
            version_directory, self._manifest_digest, digest, lambda path: path.startswith(_BY_ALL)
        )
        self._note(lambda path: path.startswith(_BY_ALL))

    @property
    def variants(self) -> Collection[str]:
        """The variants that have files of their own."""
        return self.manifest.variants.keys() - {REFERENCE_VARIANT}

    def verify(self, name: str, *, warmup: bool) -> None:
        """Read what the candidate of that name answers by; also the warmup requests if it is asked them."""
        if name in self.variants:
            warmup_file = f"{SAVED_MODEL}/{WARMUP_FILE}" if warmup else ""
            own = f"{variant_path(name)}/"
            self._verify(lambda path: path.startswith(own) or path == warmup_file)
        else:
            self._verify(lambda path: not path.startswith(f"{VARIANTS}/"))

    def verify_rest(self) -> None:
        """Read the files that were not read so far."""
        self._verify(lambda _path: True)

    def _verify(self, wanted: Callable[[str], bool]) -> None:
        verify_published(
            self._directory,
            self._manifest_digest,
            self._digest,
            lambda path: wanted(path) and path not in self._verified,
        )
        self._note(wanted)

    def _note(self, wanted: Callable[[str], bool]) -> None:
        self._verified.update(filter(wanted, self.manifest.files))
