"""Keys for tests of signatures, and the six ways in which a signed version is not what it is said to be."""

from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from slipway.keys import Signer, create_key, load_signer
from slipway.statement import Statement, envelope


@dataclass(frozen=True)
class Keys:
    """Three keys, and the directory of a verifier who trusts one, revoked another, and knows no third."""

    folder: Path
    good: Signer
    revoked: Signer
    unknown: Signer

    @property
    def trusted(self) -> Path:
        return self.folder / "trusted"

    def file(self, name: str) -> Path:
        """The private key of that name."""
        return self.folder / f"{name}.key"

    def revoke(self, signer: Signer) -> None:
        with (self.trusted / "revoked.txt").open("a") as file:
            file.write(f"{signer.key_id}\n")


def make_keys(folder: Path) -> Keys:
    (folder / "trusted").mkdir(parents=True)
    for name in ("good", "revoked", "unknown"):
        create_key(folder / f"{name}.key")
    for name in ("good", "revoked"):
        (folder / f"{name}.pub.pem").rename(folder / "trusted" / f"{name}.pem")
    keys = Keys(folder, *(load_signer(folder / f"{name}.key") for name in ("good", "revoked", "unknown")))
    keys.revoke(keys.revoked)
    return keys


def signed(name: str, version: int, digest: str, signer: Signer) -> bytes:
    return envelope(Statement(name, version, digest), signer)


class Place(Protocol):
    """Where version 2 of `digits` lies, with what signs it, for somebody who may write there."""

    def read(self, path: str) -> bytes:
        """A file of the servable."""
        ...

    def write(self, path: str, data: bytes | None) -> None:
        """Replace, add or (None) remove a file of the servable."""
        ...

    def sign(self, signer: Signer) -> None:
        """Put another signature of the version in place of its own."""
        ...

    def put_older_back(self) -> None:
        """Put version 1 there, whole, with its own signature."""
        ...


LABELS = "labels.json"


def _flip(place: Place, _keys: Keys) -> None:
    data = place.read(LABELS)
    place.write(LABELS, bytes([data[0] ^ 1]) + data[1:])


FORGERIES = {
    "a changed byte": (_flip, r"labels\.json"),
    "a missing file": (lambda place, _: place.write(LABELS, None), r"labels\.json"),
    "an added file": (lambda place, _: place.write("added.json", b"{}"), r"added\.json"),
    "a revoked key": (lambda place, keys: place.sign(keys.revoked), "key [0-9a-f]{32} is revoked"),
    "an unknown key": (lambda place, keys: place.sign(keys.unknown), "key [0-9a-f]{32} is not among those trusted"),
    "an older one": (lambda place, _: place.put_older_back(), "its signature is for digits version 1"),
}
