"""A client in the log: a keyed hash, so that who has the log alone does not learn who asked."""

import hashlib
import os
import secrets
from pathlib import Path

from serving.prediction_log.places import FILE_MODE, FOLDER_MODE, entries
from slipway.errors import InputError

KEY_FILE = ".client.key"
_PRINTS = ".client.keys"  # a file a key, named by its fingerprint
_PRINTED = "\0which key"  # no client is called so: neither a header nor an address holds a NUL
_KEY_BYTES, _DIGEST_BYTES = 32, 16
_OWNER_ONLY = 0o600


def make_key(log: Path) -> None:
    """Have a key file in the log; of servers that start together one makes it, whole from the first moment."""
    if not (log / KEY_FILE).exists():
        _make(log / KEY_FILE)


def client_key(log: Path, file: Path | None = None) -> bytes:
    """The key of the hashes: what `file` holds, or else what the log's own key file does.

    InputError if it cannot be read or holds fewer than 16 bytes.
    """
    path = file or log / KEY_FILE
    try:
        key = path.read_bytes().strip()
    except OSError as error:
        raise InputError(
            f"{path}: the key of the clients' hashes cannot be read ({error.strerror}); expected a file of 16 random "
            "bytes or more. Run as the user who may read it, or name another with --prediction_log_key_file."
        ) from error
    if len(key) < _DIGEST_BYTES:
        raise InputError(
            f"{path}: holds a key of {len(key)} bytes; expected 16 random bytes or more, as `openssl rand -hex 32` "
            "makes. Write such a key to it."
        )
    return key


def note_key(log: Path, key: bytes) -> None:
    """Have the log say that hashes in it are by that key, by a fingerprint that does not tell the key."""
    folder = log / _PRINTS
    folder.mkdir(FOLDER_MODE, exist_ok=True)
    (folder / client_digest(key, _PRINTED)).touch(FILE_MODE)


def check_key(log: Path, key: bytes) -> None:
    """InputError if no server wrote hashes by that key; a log that says nothing of its keys passes."""
    known = {path.name for path in entries(log / _PRINTS)}
    if known and client_digest(key, _PRINTED) not in known:
        raise InputError(
            f"{log}: no server wrote clients' hashes by the key that was given, so no record would be found; expected "
            "the key that the server has. Pass the file of its --prediction_log_key_file as --key-file, or none if it "
            "has none."
        )


def client_digest(key: bytes, client: str) -> str:
    """32 hex digits that stand for a client; another key gives others."""
    short_key = key if len(key) <= hashlib.blake2b.MAX_KEY_SIZE else hashlib.blake2b(key).digest()
    data = client.encode(errors="surrogatepass")
    return hashlib.blake2b(data, key=short_key, digest_size=_DIGEST_BYTES).hexdigest()


def _make(path: Path) -> None:
    beside = path.with_name(f"{path.name}.{secrets.token_hex(8)}")
    descriptor = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, _OWNER_ONLY)
    try:
        with os.fdopen(descriptor, "wb") as out:
            out.write(secrets.token_hex(_KEY_BYTES).encode())
            out.flush()
            os.fsync(out.fileno())
        os.link(beside, path)
    except FileExistsError:
        pass
    finally:
        beside.unlink()
