"""Credentials in addresses: taken out of whatever is printed, logged or recorded."""

import re

# Whatever stands before the last `@` of the word: a password may hold quotes, slashes, and an `@` of its own.
_BEFORE_HOST = re.compile(r"(\w+://)\S*@")
_NAMED = re.compile(
    r"(\b(?:(?:ssl)?password|secret|token|signature|x-amz-(?:credential|signature|security-token))=)[^&\s]+",
    re.IGNORECASE,
)


def has_credentials(address: str) -> bool:
    """Whether there may be `user:password@` in an address."""
    return _BEFORE_HOST.search(address) is not None


def without_credentials(text: str) -> str:
    """`text` on one line, without `user:password@` in its addresses, and without what follows `password=` and such."""
    return " ".join(_NAMED.sub(r"\1", _BEFORE_HOST.sub(r"\1", text)).split())
