"""What a call is told: by `-C NAME=VALUE`, the target URI, the environment, a configuration file."""

import difflib
import os
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from pipeline.config import Config, load_config
from pipeline.s3_endpoint import reaching_s3
from slipway.errors import InputError

ENVIRONMENT = "SLIPWAY_DEPLOYMENTS_"
_CONFIG_KEYS = {
    "base": "base",
    "s3_endpoint": "s3_endpoint",
    "servers": "reconcile.servers",
    "load_timeout_s": "reconcile.load_timeout_s",
}
_KEYS = ("config", *_CONFIG_KEYS, "reason", "force", "rest_port", "grpc_port", "runtime")
_TARGET = "slipway"


@dataclass(frozen=True)
class Settings:
    """What a call is told."""

    config: Config
    rest: str | None  # where predictions are asked over REST; None: over gRPC, of the servers
    reason: str = ""
    force: bool = False
    rest_port: int = 8501
    grpc_port: int = 8500
    runtime: str | None = None


def read_settings(target_uri: str, options: Mapping[str, Any]) -> Settings:
    """`options` above the target URI, above the environment, above the configuration file, above the defaults.

    InputError names a key that there is not, or a value that makes no sense.
    """
    unknown = [key for key in options if key not in _KEYS]
    if unknown:
        close = difflib.get_close_matches(unknown[0], _KEYS, n=1)
        hint = f"did you mean {close[0]!r}?" if close else f"expected one of {', '.join(_KEYS)}."
        raise InputError(f"-C {unknown[0]}: unknown; {hint}")
    rest, servers = _addresses(target_uri)
    named = {key: value for key in _KEYS if (value := os.environ.get(f"{ENVIRONMENT}{key.upper()}"))}
    values = {**named, **({"servers": servers} if servers else {}), **options}
    overrides = {dotted: values[key] for key, dotted in _CONFIG_KEYS.items() if key in values}
    if "load_timeout_s" in values:
        overrides["reconcile.load_timeout_s"] = _number("load_timeout_s", values["load_timeout_s"], float)
    return Settings(
        config=reaching_s3(load_config(values.get("config"), overrides)),
        rest=rest,
        reason=str(values.get("reason", "")),
        force=_switch(values.get("force", False)),
        rest_port=_number("rest_port", values.get("rest_port", Settings.rest_port), int),
        grpc_port=_number("grpc_port", values.get("grpc_port", Settings.grpc_port), int),
        runtime=values.get("runtime"),
    )


def _addresses(target_uri: str) -> tuple[str | None, str]:
    """The REST address of a target URI, and its gRPC addresses with commas between."""
    target, _, rest = target_uri.partition(":")
    addresses = [word.strip() for word in rest.split(",") if word.strip()]
    http = [word for word in addresses if word.startswith(("http://", "https://"))]
    grpc = [word for word in addresses if word.startswith(("grpc://", "grpcs://"))]
    if target != _TARGET or len(http) > 1 or len(http) + len(grpc) != len(addresses):
        raise InputError(
            f"target {target_uri!r}: expected slipway, slipway:grpc://HOST:8500 or slipway:http://HOST:8501. "
            "Several gRPC addresses have commas between; one may be http."
        )
    return (http[0] if http else None), ",".join(grpc)


def _number(key: str, value: Any, kind: Any) -> Any:
    try:
        return kind(value)
    except (TypeError, ValueError) as error:
        raise InputError(f"-C {key}={value}: expected a number. Correct it.") from error


def _switch(value: Any) -> bool:
    text = str(value).lower()
    if text not in {"true", "false", ""}:
        raise InputError(f"-C force={value}: expected true or false. Correct it.")
    return text == "true"
