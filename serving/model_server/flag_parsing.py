"""From a command line to flags, and from flags to what --help prints.

`--flag=value` and `--flag value` mean the same; a boolean is `--flag`, `--flag=true` or `--flag=false`.
"""

import difflib
import math
from collections.abc import Sequence
from dataclasses import fields

from serving.model_server.flag_checks import check_flags
from serving.model_server.flags import Flags
from serving.model_server.unsupported_flags import UNSUPPORTED
from slipway.errors import InputError

_TRUE, _FALSE = {"true", "1", "t", "yes", "y"}, {"false", "0", "f", "no", "n"}
Value = str | float | bool


def parse_flags(arguments: Sequence[str]) -> Flags:
    """The flags of a command line; InputError for an unknown flag, a bad value, or flags that exclude each other."""
    known = {flag.name: type(flag.default) for flag in fields(Flags)}
    kinds = {**known, **{name: type(flag.same_as_here) for name, flag in UNSUPPORTED.items()}}
    values: dict[str, Value] = {}
    rest = list(arguments)
    while rest:
        argument = rest.pop(0)
        name, equals, text = argument.removeprefix("-").removeprefix("-").partition("=")
        if not argument.startswith("-") or name not in kinds:
            raise InputError(_unknown(argument.partition("=")[0], name, list(known)))
        kind = kinds[name]
        if not equals and kind is not bool:
            if not rest:
                raise InputError(f"--{name}: expected a value after it. Give --{name}=VALUE.")
            text = rest.pop(0)
        elif not equals:
            text = rest.pop(0) if rest and rest[0].lower() in _TRUE | _FALSE else "true"
        value = _value(name, kind, text)
        if name in known:
            values[name] = value
        else:
            UNSUPPORTED[name].check(name, value)
    flags = Flags(**values)  # type: ignore[arg-type]
    check_flags(flags, values.keys())
    return flags


def help_text() -> str:
    """What --help prints: every flag with its default."""
    lines = [
        "usage: python -m serving.model_server --model_base_path=DIRECTORY [--flag=value ...]",
        "",
        "Serves models over gRPC and REST as tensorflow_model_server does.",
        "",
    ]
    for flag in fields(Flags):
        default = str(flag.default).lower() if isinstance(flag.default, bool) else _shown(flag.default)
        lines += [f"  --{flag.name}={default}", f"      {flag.metadata['help']}"]
    return "\n".join(lines)


def _shown(default: object) -> str:
    return f"{default:g}" if isinstance(default, float) else repr(default)


def _unknown(argument: str, name: str, known: list[str]) -> str:
    near = difflib.get_close_matches(name, known, 1)
    return (
        f"unknown flag {argument!r}{f'; did you mean --{near[0]}?' if near else '.'} "
        f"Known: {', '.join(f'--{flag}' for flag in known)}."
    )


def _value(name: str, kind: type, text: str) -> Value:
    if kind is bool:
        if text.lower() not in _TRUE | _FALSE:
            raise InputError(f"--{name}={text}: expected true or false.")
        return text.lower() in _TRUE
    if kind is int:
        try:
            return int(text)
        except ValueError:
            raise InputError(f"--{name}={text}: expected a whole number.") from None
    if kind is float:
        try:
            seconds = float(text)
        except ValueError:
            seconds = math.nan
        if not math.isfinite(seconds):
            raise InputError(f"--{name}={text}: expected a number.")
        return seconds
    return text
