"""A version in S3 becomes a bundle on this machine's disk: only what can be what was sealed is fetched at all."""

import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from serving.servable.layout import MANIFEST, published_path
from serving.servable.manifest import Manifest
from serving.servable.verification import check_nothing_added
from serving.stores import Arrived, AtHand
from serving.stores.s3_bucket import Bucket
from serving.stores.s3_errors import writing_errors
from slipway.errors import IntegrityError, NotFoundError


@dataclass(frozen=True)
class Fetch:
    """`Bundle.fetch` of the version whose keys begin with `prefix`; errors name `place`."""

    bucket: Bucket
    prefix: str
    place: str
    claim: bytes  # the manifest, as it was read
    manifest: Manifest
    at_hand: AtHand
    arrived: Arrived

    def __call__(self, into: Path) -> Path:
        """See `Bundle`; IntegrityError, and nothing is fetched, for other files, or sizes, than were sealed."""
        present = {key.removeprefix(self.prefix): size for key, size in self.bucket.sizes(self.prefix).items()}
        check_nothing_added(self.manifest, present, self.place)
        _check_sizes(self.manifest, present, self.place)
        (into / MANIFEST).write_bytes(self.claim)
        wanted: dict[str, Path] = {}
        for path, entry in self.manifest.files.items():
            near = self.at_hand(entry)
            if near is None:
                wanted[self.prefix + published_path(path)] = into / path
            else:
                with writing_errors(f"{self.place}/{published_path(path)}", into / path):
                    (into / path).parent.mkdir(parents=True, exist_ok=True)
                    shutil.copyfile(near, into / path)
        try:
            self.bucket.download(wanted, self.arrived)
        except NotFoundError as error:
            raise IntegrityError(str(error)) from error  # the manifest says that it is there
        return into


def _check_sizes(manifest: Manifest, present: Mapping[str, int], place: str) -> None:
    for path, size_bytes in sorted((published_path(path), entry.size_bytes) for path, entry in manifest.files.items()):
        if present.get(path) != size_bytes:
            found = f"has {present[path]} bytes" if path in present else "is not there"
            raise IntegrityError(
                f"{place}: file {path!r} {found}; expected {size_bytes} bytes. Publish the version again, after its "
                "removal."
            )
