"""Names that become paths, URLs and registry keys, validated wherever they enter."""

import re

from slipway.errors import InputError

_MODEL_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,99}")
_ALIAS = re.compile(r"[A-Za-z][A-Za-z0-9_-]{0,99}")
_RESERVED_ALIAS = re.compile(r"latest|v\d+", re.IGNORECASE)
_DIGITS = re.compile(r"[0-9]{1,19}")
_LARGEST_VERSION = 2**63 - 1  # TensorFlow Serving parses a version directory's name as an int64


def check_model_name(name: str) -> str:
    """Return `name` if it can be a registered model's, a directory's and a URL segment's; else raise InputError."""
    if not is_model_name(name):
        raise InputError(
            f"model name {name!r:.120}: expected 1 to 100 letters, digits, '_' or '-', starting with a letter or "
            "digit. Choose such a name with --name."
        )
    return name


def is_model_name(name: str) -> bool:
    """Whether `check_model_name` takes it."""
    return _MODEL_NAME.fullmatch(name) is not None


def check_alias(alias: str) -> str:
    """Return `alias` if MLflow takes it; else raise InputError."""
    if not _ALIAS.fullmatch(alias) or _RESERVED_ALIAS.fullmatch(alias):
        raise InputError(
            f"alias {alias!r:.120}: expected letters, digits, '_' or '-', neither 'latest' nor 'v<number>'. "
            "Use 'champion' or 'challenger'."
        )
    return alias


def check_version(version: int | str) -> int:
    """Return a model version's number, 1 or more, or raise InputError."""
    text = str(version)
    if not _DIGITS.fullmatch(text) or not 1 <= int(text) <= _LARGEST_VERSION:
        raise InputError(
            f"version {text!r:.120}: expected a whole number from 1, as `history` and the MLflow UI show it. "
            "Pass such a number."
        )
    return int(text)


def version_of_directory(name: str) -> int | None:
    """The version whose directory has that name; None for a name that no published version has, `007` among them."""
    number = int(name) if _DIGITS.fullmatch(name) else 0
    return number if 1 <= number <= _LARGEST_VERSION and str(number) == name else None
