"""The id of an answer, in which the version and the servable that gave it are contained: `3-0f3a9c8d7e6b-<16 hex>`."""

import os
import re
from dataclasses import dataclass

from slipway.errors import InputError

NO_DIGEST = "none"  # of a version without a manifest, and of an answer that no version gave
_DIGEST_DIGITS = 12
_RANDOM_BYTES, _AT_ONCE = 8, 512
_ID = re.compile(rf"(\d{{1,19}})-([0-9a-f]{{{_DIGEST_DIGITS}}}|{NO_DIGEST})-([0-9a-f]{{16}})", re.ASCII)


@dataclass(frozen=True)
class RequestId:
    """version: 0 where no version answered. digest_prefix: the manifest's first 12 hex digits, or "none"."""

    version: int
    digest_prefix: str
    random: str  # 16 hex digits


def new_request_id(version: int, digest: str) -> str:
    """A new id; `digest` is the sha256 of the servable's manifest, or "none"."""
    return f"{version}-{digest[:_DIGEST_DIGITS]}-{_random_digits()}"


def parse_request_id(text: str) -> RequestId:
    """What an id says; InputError if it is none."""
    found = _ID.fullmatch(text)
    if found is None:
        raise InputError(
            f"request id {text!r:.80}: expected VERSION-DIGEST-RANDOM, as '3-0f3a9c8d7e6b-1f2e3d4c5b6a7988'. "
            "Copy it from an answer's x-slipway-request-id."
        )
    return RequestId(int(found[1]), found[2], found[3])


def _random_digits() -> str:
    """16 digits of the system's randomness, which is asked for many at once: each call lets another thread go first."""
    try:
        return _digits.pop()
    except IndexError:
        found = os.urandom(_RANDOM_BYTES * _AT_ONCE).hex(" ", _RANDOM_BYTES).split()
        _digits.extend(found[1:])
        return found[0]


_digits: list[str] = []
