"""What reconcile is told: which models, which servers follow the base path, and what it may do by itself."""

import re
from dataclasses import dataclass

from slipway.credentials import without_credentials
from slipway.errors import InputError
from slipway.names import check_model_name

NO_SERVERS = "none"
_WEB = re.compile(r"https?://[^/@?#\s]+(/[^@?#\s]*)?")
RESTORE, LEAVE = "restore", "leave"


@dataclass(frozen=True)
class ReconcileConfig:
    """InputError, naming the key, for a value that makes no sense."""

    models: str = ""  # beside those with the tag slipway.serving; commas between
    servers: str = "grpc://127.0.0.1:8500"  # gRPC addresses of the servers that follow the base path, or `none`
    interval_s: float = 10.0  # between two looks at the registry
    load_timeout_s: float = 300.0  # how long a server may take to load a version before it is refused
    on_refusal: str = RESTORE  # the alias of a refused version: `restore` what is live, or `leave` it
    allow_retire: bool = False  # whether deleting the alias `champion` ends the serving of a model
    lease_s: float = 30.0  # how long after the death of a reconciler, at most, another one takes over
    mlflow_ui: str = ""  # where people find MLflow's UI; the tracking server's own address

    def __post_init__(self) -> None:
        for name in self.model_names:
            check_model_name(name)
        if self.on_refusal not in {RESTORE, LEAVE}:
            raise InputError(
                f"reconcile.on_refusal is {self.on_refusal!r}; expected {RESTORE} or {LEAVE}. "
                "Edit it or pass --on-refusal."
            )
        for key, least in (("interval_s", 0.1), ("load_timeout_s", 1.0), ("lease_s", 2.0)):
            if not getattr(self, key) >= least:
                flag = "interval" if key == "interval_s" else key.replace("_", "-")
                raise InputError(
                    f"reconcile.{key} is {getattr(self, key)}; expected {least:g} or more. Edit it or pass --{flag}."
                )
        if not self.servers.strip():
            raise InputError(
                f"reconcile.servers is empty; expected gRPC addresses, or {NO_SERVERS!r}. Edit it or pass --servers."
            )
        if NO_SERVERS in _words(self.servers) and self.addresses:
            raise InputError(
                f"reconcile.servers is {self.servers!r}; expected addresses or {NO_SERVERS!r}, not both. Edit it."
            )
        if self.mlflow_ui and not _WEB.fullmatch(self.mlflow_ui):
            raise InputError(
                f"reconcile.mlflow_ui is {without_credentials(self.mlflow_ui)!r}; expected http://HOST:PORT or "
                "https://HOST/PATH. Edit it or pass --mlflow-ui."
            )
        for address in self.addresses:
            if not address.startswith(("grpc://", "grpcs://")):
                raise InputError(
                    f"reconcile.servers: {address!r} is no gRPC address; expected grpc://HOST:PORT or "
                    "grpcs://HOST:PORT. Edit it or pass --servers."
                )

    @property
    def model_names(self) -> tuple[str, ...]:
        return _words(self.models)

    @property
    def addresses(self) -> tuple[str, ...]:
        """The servers' addresses; none if there are no servers."""
        return tuple(word for word in _words(self.servers) if word != NO_SERVERS)


def _words(text: str) -> tuple[str, ...]:
    return tuple(word for word in (part.strip() for part in text.split(",")) if word)
