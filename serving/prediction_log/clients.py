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


class Clients:
    """Clients as a server writes them: by the key in `file`, or else by the log's own, which the log always holds.

    InputError as `client_key` has it; OSError where the log cannot be written.
    """

    def __init__(self, log: Path, file: Path | None = None) -> None:
        self._log = log
        self._file = file
        if file is None:
            _have_key(log, secrets.token_hex(_KEY_BYTES).encode())
        self._key = client_key(log, file)
        _note_key(log, self._key)

    def digest(self, client: str) -> str:
        """What stands for a client."""
        return client_digest(self._key, client)

    def restore(self) -> bool:
        """Have the log hold the key and its fingerprint again if they were removed, and say so.

        Where another server has made a key meanwhile, it is this one's from now on.
        """
        is_there = self._file is not None or (self._log / KEY_FILE).exists()
        if is_there and _print_path(self._log, self._key).exists():
            return False
        self._log.mkdir(FOLDER_MODE, parents=True, exist_ok=True)
        if self._file is None:
            _have_key(self._log, self._key)
            self._key = client_key(self._log)
        _note_key(self._log, self._key)
        return True


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


def check_key(log: Path, key: bytes) -> None:
    """InputError if no server wrote hashes by that key; a log that says nothing of its keys passes."""
    if entries(log / _PRINTS) and not _print_path(log, key).exists():
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


def _note_key(log: Path, key: bytes) -> None:
    """Have the log say that hashes in it are by that key, by a fingerprint that does not tell the key."""
    path = _print_path(log, key)
    path.parent.mkdir(FOLDER_MODE, exist_ok=True)
    path.touch(FILE_MODE)


def _print_path(log: Path, key: bytes) -> Path:
    return log / _PRINTS / client_digest(key, _PRINTED)


def _have_key(log: Path, key: bytes) -> None:
    """Have a key file in the log; of servers that start together one makes it, whole from the first moment."""
    path = log / KEY_FILE
    if path.exists():
        return
    beside = path.with_name(f"{path.name}.{secrets.token_hex(8)}")
    descriptor = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, _OWNER_ONLY)
    try:
        with os.fdopen(descriptor, "wb") as out:
            out.write(key)
            out.flush()
            os.fsync(out.fileno())
        os.link(beside, path)
    except FileExistsError:
        pass
    finally:
        beside.unlink()
