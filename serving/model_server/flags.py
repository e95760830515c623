"""The command line: TensorFlow Serving's flags by their names, and a few of our own.

`--flag=value` and `--flag value` mean the same; a boolean is `--flag`, `--flag=true` or `--flag=false`.
"""

import difflib
import typing
from collections.abc import Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path

from serving.model_server.runtimes import RUNTIMES
from slipway.errors import InputError

_TRUE, _FALSE = {"true", "1", "t", "yes", "y"}, {"false", "0", "f", "no", "n"}


def _flag(default: str | int | bool, text: str) -> typing.Any:
    return field(default=default, metadata={"help": text})


@dataclass(frozen=True)
class Flags:
    """Each field is a flag; its default is the flag's."""

    port: int = _flag(8500, "TCP port for gRPC; 0 leaves it out.")
    rest_api_port: int = _flag(8501, "TCP port for REST; 0 leaves it out.")
    rest_api_timeout_in_ms: int = _flag(30000, "Longest time a REST request may take; then it is answered 504.")
    model_name: str = _flag("default", "Name of the model; not with --model_config_file.")
    model_base_path: str = _flag("", "Directory with the model's version directories; not with --model_config_file.")
    file_system_poll_wait_seconds: int = _flag(1, "Seconds between looks for new versions; 0 looks once.")
    model_config_file: str = _flag("", "ModelServerConfig, as text: several models, version policies, labels.")
    model_config_file_poll_wait_seconds: int = _flag(0, "Seconds between looks at that file; 0 looks once.")
    allow_version_labels_for_unavailable_models: bool = _flag(
        False, "A label that is new may name a version that is not available yet."
    )
    enable_model_warmup: bool = _flag(True, "Run a version's warmup requests before it takes traffic.")
    max_num_load_retries: int = _flag(5, "Times a failed load is tried again.")
    load_retry_interval_micros: int = _flag(60_000_000, "Microseconds between those tries.")
    default_label: str = _flag("", "Slipway's: requests that name no version go to the one that bears this label.")
    runtime: str = _flag("tensorflow", f"Slipway's: what executes a version; one of {', '.join(RUNTIMES)}.")
    host: str = _flag("127.0.0.1", "Slipway's: address to listen on; 0.0.0.0 is every interface.")
    max_body_mb: int = _flag(128, "Slipway's: largest REST body, unpacked, in MiB; more is answered 413.")
    drain_timeout_seconds: int = _flag(30, "Slipway's: how long SIGTERM waits for requests in flight.")

    @property
    def max_body_bytes(self) -> int:
        """The largest REST body, in bytes."""
        return self.max_body_mb * 2**20


def parse_flags(arguments: Sequence[str]) -> Flags:
    """The flags of a command line; InputError for an unknown flag, a bad value, or flags that exclude each other."""
    known = {flag.name: flag for flag in fields(Flags)}
    values: dict[str, str | int | bool] = {}
    rest = list(arguments)
    while rest:
        argument = rest.pop(0)
        name, equals, text = argument.removeprefix("-").removeprefix("-").partition("=")
        if not argument.startswith("-") or name not in known:
            raise InputError(_unknown(argument.partition("=")[0], name, list(known)))
        kind = type(known[name].default)
        if not equals and kind is not bool:
            if not rest:
                raise InputError(
                    f"--{name}: expected a value after it. Give --{name}={known[name].default or 'VALUE'}."
                )
            text = rest.pop(0)
        elif not equals:
            text = rest.pop(0) if rest and rest[0].lower() in _TRUE | _FALSE else "true"
        values[name] = _value(name, kind, text)
    flags = Flags(**values)  # type: ignore[arg-type]
    _check(flags, values)
    return flags


def help_text() -> str:
    """What --help prints: every flag with its default."""
    lines = [
        "usage: python -m serving.model_server --model_base_path=DIRECTORY [--flag=value ...]",
        "",
        "Serves SavedModels over gRPC and REST as tensorflow_model_server does.",
        "",
    ]
    for flag in fields(Flags):
        default = str(flag.default).lower() if isinstance(flag.default, bool) else repr(flag.default)
        lines += [f"  --{flag.name}={default}", f"      {flag.metadata['help']}"]
    return "\n".join(lines)


def _unknown(argument: str, name: str, known: list[str]) -> str:
    near = difflib.get_close_matches(name, known, 1)
    return (
        f"unknown flag {argument!r}{f'; did you mean --{near[0]}?' if near else '.'} "
        f"Known: {', '.join(f'--{flag}' for flag in known)}."
    )


def _value(name: str, kind: type, text: str) -> str | int | bool:
    if kind is bool:
        if text.lower() not in _TRUE | _FALSE:
            raise InputError(f"--{name}={text}: expected true or false.")
        return text.lower() in _TRUE
    if kind is int:
        try:
            return int(text)
        except ValueError:
            raise InputError(f"--{name}={text}: expected a whole number.") from None
    return text


def _check(flags: Flags, given: dict[str, str | int | bool]) -> None:
    for name in ("port", "rest_api_port"):
        if not 0 <= getattr(flags, name) <= 65535:
            raise InputError(f"--{name}={getattr(flags, name)}: expected a port from 0 to 65535.")
    if not flags.port and not flags.rest_api_port:
        raise InputError("--port=0 --rest_api_port=0: nothing to listen on. Give one of them a port.")
    if flags.port == flags.rest_api_port:
        raise InputError(f"--port={flags.port}: --rest_api_port is the same. Give one of them another port.")
    for name in ("rest_api_timeout_in_ms", "max_body_mb", "drain_timeout_seconds"):
        if getattr(flags, name) < 1:
            raise InputError(f"--{name}={getattr(flags, name)}: expected 1 or more.")
    for name in (
        "file_system_poll_wait_seconds",
        "model_config_file_poll_wait_seconds",
        "max_num_load_retries",
        "load_retry_interval_micros",
    ):
        if getattr(flags, name) < 0:
            raise InputError(f"--{name}={getattr(flags, name)}: expected 0 or more.")
    if flags.runtime not in RUNTIMES:
        raise InputError(f"--runtime={flags.runtime}: expected one of {', '.join(RUNTIMES)}.")
    _check_models(flags, given)


def _check_models(flags: Flags, given: dict[str, str | int | bool]) -> None:
    if flags.model_config_file:
        if both := {"model_name", "model_base_path"} & given.keys():
            raise InputError(
                f"--{min(both)} and --model_config_file: expected one of them. Name the model in the file."
            )
        if not Path(flags.model_config_file).is_file():
            raise InputError(f"--model_config_file={flags.model_config_file}: no such file. Give the path of one.")
    elif not flags.model_base_path:
        raise InputError("nothing to serve: expected --model_base_path=DIRECTORY or --model_config_file=FILE.")
