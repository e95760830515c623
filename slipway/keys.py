"""Keys that sign and keys that are trusted: files, Ed25519, and the list of those that are revoked."""

import os
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from slipway.errors import InputError
from slipway.files import fsync_path, sha256_bytes, write_atomically

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

REVOKED = "revoked.txt"
KEY_ID = re.compile("[0-9a-f]{32}")

Verifies = Callable[[bytes, bytes], bool]  # whether a signature is that key's, of those bytes


@dataclass(frozen=True)
class Signer:
    """Who signs. key_id: of the public key; sign: the signature of some bytes, 64 bytes."""

    key_id: str
    sign: Callable[[bytes], bytes]


@dataclass(frozen=True)
class ListedKey:
    """A key that a directory of trusted keys names. file: "" for one that is only revoked."""

    key_id: str
    state: str  # trusted or revoked
    file: str


def create_key(private: Path, passphrase: bytes | None = None) -> str:
    """Write a new key to `private`, readable by its owner alone, and its public half beside it; the key's id.

    InputError if a file is there already, or cannot be written.
    """
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

    key = Ed25519PrivateKey.generate()
    encryption = serialization.BestAvailableEncryption(passphrase) if passphrase else serialization.NoEncryption()
    pem = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, encryption)
    public = key.public_key().public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
    public_file = public_half(private)
    if os.path.lexists(public_file):
        raise InputError(f"{public_file}: is there already; expected a new file. Name another one.")
    for file, content, mode in ((private, pem, 0o600), (public_file, public, 0o644)):
        _write_new(file, content, mode)
    return _key_id(key.public_key())


def public_half(private: Path) -> Path:
    """Where `create_key` writes the public half of a key."""
    return private.with_suffix(".pub.pem")


def _write_new(file: Path, content: bytes, mode: int) -> None:
    try:
        # Exclusively: not through a link that somebody has put there meanwhile.
        descriptor = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
        with os.fdopen(descriptor, "wb") as stream:
            stream.write(content)
            stream.flush()
            os.fsync(stream.fileno())
        fsync_path(file.parent)
    except FileExistsError as error:
        raise InputError(f"{file}: is there already; expected a new file. Name another one.") from error
    except OSError as error:
        raise InputError(
            f"{file}: cannot be written ({error.strerror}); expected a file in a directory that this user can write. "
            "Name another one."
        ) from error


def load_signer(private: Path, passphrase: bytes | None = None) -> Signer:
    """The signer whose key is in the file `private`; InputError if it is none, or the passphrase is not its own."""
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
    from cryptography.hazmat.primitives.serialization import load_pem_private_key

    try:
        key = load_pem_private_key(private.read_bytes(), passphrase)
    except (OSError, ValueError, TypeError, UnsupportedAlgorithm) as error:
        raise InputError(
            f"{private}: cannot be read as a private key ({' '.join(str(error).split())}); expected one that `slipway "
            "keys create` made, and its passphrase if it has one. Correct the path or the passphrase."
        ) from error
    if not isinstance(key, Ed25519PrivateKey):
        raise InputError(f"{private}: is another kind of key; expected Ed25519. Make one with `slipway keys create`.")
    return Signer(_key_id(key.public_key()), key.sign)


def public_keys(directory: Path) -> Mapping[str, Verifies]:
    """The keys in `*.pem` of a directory, by their ids; InputError for a file that is no public key."""
    return dict(load_public_key(file) for file in sorted(directory.glob("*.pem")))


def listed_keys(directory: Path) -> list[ListedKey]:
    """The keys of a directory, file by file, and then those that are revoked and not there; errors as of both."""
    revoked = revoked_keys(directory / REVOKED)
    found = [(load_public_key(file)[0], file.name) for file in sorted(directory.glob("*.pem"))]
    absent = sorted(revoked - {key_id for key_id, _ in found})
    return [
        ListedKey(key_id, "revoked" if key_id in revoked else "trusted", file)
        for key_id, file in [*found, *((key_id, "") for key_id in absent)]
    ]


def load_public_key(file: Path) -> tuple[str, Verifies]:
    """The id of a public key, and what verifies by it; InputError for a file that holds none."""
    from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
    from cryptography.hazmat.primitives.serialization import load_pem_public_key

    try:
        key = load_pem_public_key(file.read_bytes())
    except (OSError, ValueError, UnsupportedAlgorithm) as error:
        raise InputError(
            f"{file}: cannot be read as a public key ({' '.join(str(error).split())}); expected a public "
            "key alone. A private key does not belong here: move it away."
        ) from error
    if not isinstance(key, Ed25519PublicKey):
        raise InputError(f"{file}: is another kind of key; expected Ed25519. Move it away.")

    def verifies(signature: bytes, data: bytes) -> bool:
        try:
            key.verify(signature, data)
        except InvalidSignature:
            return False
        return True

    return _key_id(key), verifies


def revoked_keys(file: Path) -> frozenset[str]:
    """The ids in the file; InputError for a line that is none: a revocation that is not understood is not passed by."""
    try:
        lines = file.read_text(encoding="utf-8-sig").splitlines() if os.path.lexists(file) else []
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(
            f"{file}: cannot be read ({' '.join(str(error).split())}); expected the id of a revoked key on each line. "
            "Mend the file."
        ) from error
    found = set()
    for number, line in enumerate(lines, 1):
        key_id = line.partition("#")[0].strip().lower()
        if key_id and not KEY_ID.fullmatch(key_id):
            raise InputError(
                f"{file}:{number}: {key_id!r:.80} is no key's id; expected 32 hex digits, and a remark after #. Mend "
                "that line."
            )
        found.add(key_id)
    return frozenset(found - {""})


def add_revoked(directory: Path, key_id: str, remark: str = "") -> None:
    """Have `revoked.txt` name the key; InputError if it is no key's id, or the directory cannot be written."""
    if not KEY_ID.fullmatch(key_id):
        raise InputError(f"{key_id!r:.80} is no key's id; expected 32 hex digits, as `slipway keys list` shows them.")
    file = directory / REVOKED
    if key_id in revoked_keys(file):
        return
    try:
        present = file.read_text(encoding="utf-8-sig") if file.exists() else ""
        line = f"{key_id}  # {' '.join(remark.split())}" if remark.strip() else key_id
        gap = "" if not present or present.endswith("\n") else "\n"
        write_atomically(file, f"{present}{gap}{line}\n".encode())
    except OSError as error:
        raise InputError(
            f"{file}: cannot be written ({error.strerror}); expected a directory that this user can write. Add the "
            f"line {key_id} to it by hand."
        ) from error


def _key_id(public: "Ed25519PublicKey") -> str:
    """The first 32 hex digits of the SHA-256 of the key's DER form."""
    from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

    return sha256_bytes(public.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo))[:32]
