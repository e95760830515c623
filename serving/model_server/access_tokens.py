"""The file of access tokens: each line says who may ask the server what, and until when.

    # name    scopes           expires     SHA-256 of the token
    website   predict          2027-01-01  sha256:9f86d0...
    operator  predict,admin    never       sha256:60303a...

A token is 256 random bits, so nobody can guess one from its digest, and a fast digest is right: a slow one, as
passwords need it, would be for secrets that people choose.
"""

import hashlib
import re
import secrets
from collections.abc import Collection
from dataclasses import dataclass
from datetime import UTC, date, datetime
from pathlib import Path

from slipway.errors import InputError, NotFoundError
from slipway.files import write_atomically

PREDICT, METRICS, ADMIN = SCOPES = ("predict", "metrics", "admin")
NEVER = "never"
_PREFIX = "slipway_"  # by which scanners of secrets, and people, know one
_DIGEST = re.compile(r"sha256:([0-9a-f]{64})")
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,63}")
_FIELDS = "NAME SCOPES EXPIRES sha256:DIGEST, as `slipway tokens create` writes it"
_OWNER_ONLY = 0o600
_EVERYBODY_WRITES = 0o002


@dataclass(frozen=True)
class AccessToken:
    """A token without itself. digest: its SHA-256. expires: the first day, in UTC, on which it is not valid."""

    name: str
    scopes: frozenset[str]
    digest: bytes
    expires: date | None = None

    def is_expired(self, now_s: float) -> bool:
        """Whether it is not valid any more at that time, in seconds since the epoch."""
        return self.expires is not None and datetime.fromtimestamp(now_s, UTC).date() >= self.expires

    def line(self) -> str:
        """Its line in the file."""
        scopes = ",".join(scope for scope in SCOPES if scope in self.scopes)
        return f"{self.name} {scopes} {self.expires or NEVER} sha256:{self.digest.hex()}"


def digest_of(token: bytes) -> bytes:
    """What the file has of a token."""
    return hashlib.sha256(token).digest()


def new_token(name: str, scopes: Collection[str], expires: str = NEVER) -> tuple[str, AccessToken]:
    """A new token, to be shown once, and what the file has of it; InputError for a name, scope or date that is none."""
    token = _PREFIX + secrets.token_urlsafe(32)
    return token, AccessToken(_name(name), _scopes(",".join(scopes)), digest_of(token.encode()), _expires(expires))


def parse_tokens(data: bytes, place: str) -> tuple[AccessToken, ...]:
    """The tokens of a file; InputError names its line, and never what stands there: it may be a token by mistake."""
    found: dict[str, AccessToken] = {}
    for number, line in enumerate(data.decode(errors="replace").splitlines(), 1):
        fields = line.partition("#")[0].split()
        if not fields:
            continue
        try:
            token = _parsed(fields)
        except InputError as error:
            raise InputError(f"{place}: line {number}: {error}") from error
        if token.name in found:
            raise InputError(f"{place}: line {number}: token {token.name} is there twice. Remove one of them.")
        found[token.name] = token
    return tuple(found.values())


def read_tokens(file: Path) -> tuple[AccessToken, ...]:
    """The tokens of `file`; InputError if it cannot be read, or anybody may write it."""
    return parse_tokens(read_guarded(file), str(file))


def read_guarded(file: Path) -> bytes:
    """The content of a file of tokens; InputError if it cannot be read, or anybody may write it."""
    try:
        mode, data = file.stat().st_mode, file.read_bytes()
    except OSError as error:
        raise InputError(
            f"{file}: cannot be read ({error.strerror}); expected access tokens. Correct the path, or make one with "
            "`slipway tokens create`."
        ) from error
    if mode & _EVERYBODY_WRITES:
        raise InputError(f"{file}: everybody may write it, and so let themselves in. Run: chmod 600 {file}")
    return data


def add_token(file: Path, token: AccessToken) -> None:
    """Append it; the file is made, for its owner alone, if it is not there. InputError if the name is taken."""
    data = read_guarded(file) if file.exists() else b""
    if any(known.name == token.name for known in parse_tokens(data, str(file))):
        raise InputError(f"{file}: has a token {token.name}; expected a new name. Remove that one, or choose another.")
    separator = b"" if not data or data.endswith(b"\n") else b"\n"
    _write(file, data + separator + token.line().encode() + b"\n")


def remove_token(file: Path, name: str) -> None:
    """Remove the token of that name; everything else stays. NotFoundError if there is none."""
    data = read_guarded(file)
    names = [token.name for token in parse_tokens(data, str(file))]
    if name not in names:
        raise NotFoundError(f"{file}: has no token {name}; it has {', '.join(names) or 'none'}. Choose one of these.")
    lines = data.decode(errors="replace").splitlines(keepends=True)
    _write(file, "".join(line for line in lines if line.partition("#")[0].split()[:1] != [name]).encode())


def _write(file: Path, data: bytes) -> None:
    mode = file.stat().st_mode & 0o777 if file.exists() else _OWNER_ONLY
    write_atomically(file.resolve(), data, mode)  # what a link names is replaced, not the link


def _parsed(fields: list[str]) -> AccessToken:
    if len(fields) != 4:
        raise InputError(f"has {len(fields)} words; expected {_FIELDS}.")
    name, scopes, expires, digest = fields
    digits = _DIGEST.fullmatch(digest)
    if digits is None:
        raise InputError(f"its last word is no digest; expected {_FIELDS}. The token itself does not belong here.")
    return AccessToken(_name(name), _scopes(scopes), bytes.fromhex(digits[1]), _expires(expires))


def _name(text: str) -> str:
    if not _NAME.fullmatch(text):
        raise InputError("a token's name: expected 1 to 64 letters, digits, '_', '-' or '.', as in 'website'.")
    return text


def _scopes(text: str) -> frozenset[str]:
    scopes = frozenset(filter(None, text.split(",")))
    if not scopes or not scopes <= set(SCOPES):
        raise InputError(f"a token's scopes: expected one or more of {', '.join(SCOPES)}, with commas between.")
    return scopes


def _expires(text: str) -> date | None:
    try:
        return None if text == NEVER else date.fromisoformat(text)
    except ValueError as error:
        raise InputError(
            f"a token's expiry: expected the first day on which it is not valid, as 2027-01-01, or {NEVER}."
        ) from error
