"""Names that become paths, URLs and registry keys, validated wherever they enter."""

import re

from slipway.errors import InputError

_MODEL_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,99}")
_ALIAS = re.compile(r"[A-Za-z][A-Za-z0-9_-]{0,99}")
_RESERVED_ALIAS = re.compile(r"latest|v\d+", re.IGNORECASE)
_LARGEST_VERSION = 2**63 - 1  # TensorFlow Serving parses a version directory's name as an int64


def check_model_name(name: str) -> str:
    """Return `name` if it can be a registered model's, a directory's and a URL segment's; else raise InputError."""
    if not _MODEL_NAME.fullmatch(name):
        raise InputError(
            f"model name {name!r}: expected 1 to 100 letters, digits, '_' or '-', starting with a letter or digit. "
            "Choose such a name with --name."
        )
    return name


def check_alias(alias: str) -> str:
    """Return `alias` if MLflow takes it; else raise InputError."""
    if not _ALIAS.fullmatch(alias) or _RESERVED_ALIAS.fullmatch(alias):
        raise InputError(
            f"alias {alias!r}: expected letters, digits, '_' or '-', neither 'latest' nor 'v<number>'. "
            "Use 'champion' or 'challenger'."
        )
    return alias


def check_version(version: int | str) -> int:
    """Return a model version's number, 1 or more, or raise InputError."""
    text = str(version)
    if not (text.isascii() and text.isdigit()) or not 1 <= int(text) <= _LARGEST_VERSION:
        raise InputError(f"version {text!r}: expected a whole number from 1, as `history` and the MLflow UI show it.")
    return int(text)
