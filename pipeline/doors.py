"""What `slipway serve` is told of who may reach the server, and the server's flags that come of it."""

import shutil
from dataclasses import dataclass
from pathlib import Path

from serving.client.credentials import TOKEN, bearer_token
from serving.model_server.addresses import is_loopback
from serving.targets.tensorflow_model_server import BINARY
from slipway.errors import InputError

_EMBEDDED = "embedded"


@dataclass(frozen=True)
class Doors:
    """access_tokens, ssl_config: files; access_log: a file, or -. insecure: other machines may come in unasked."""

    access_tokens: str | None = None
    ssl_config: str | None = None
    access_log: str | None = None
    insecure: bool = False

    @property
    def tls(self) -> bool:
        """Whether the server speaks TLS."""
        return bool(self.ssl_config)

    def flags(self, target: str, host: str) -> tuple[str, ...]:
        """The server's flags; InputError if the target cannot do it, or is open to other machines without --insecure.

        Whether --ssl-config asks clients for certificates is the server's to look at.
        """
        named = {"access-tokens": self.access_tokens, "ssl-config": self.ssl_config, "access-log": self.access_log}
        given = [name for name, value in named.items() if value]
        if target != _EMBEDDED and given:
            raise InputError(f"--{given[0]}: target {target} has none. Use --target {_EMBEDDED}, or leave it out.")
        if target != _EMBEDDED:
            check_open(target, host, insecure=self.insecure)
            return ()
        if not is_loopback(host) and not self.insecure and not self.access_tokens and not self.ssl_config:
            raise InputError(
                f"--host {host}: others than this machine reach it, and nothing asks who they are; expected "
                "--access-tokens FILE (make one with `slipway tokens create`), or client_verify in the file of "
                "--ssl-config. Pass one of them, or --insecure if everybody who reaches it may use it."
            )
        if self.access_tokens and not bearer_token():
            raise InputError(
                f"--access-tokens {self.access_tokens}: {TOKEN} is not set, and this command has to ask the server "
                "whether it is ready; expected a token of that file with scope predict in the environment. Set it."
            )
        files = {"access_tokens_file": self.access_tokens, "ssl_config_file": self.ssl_config}
        flags = [f"--{name}={Path(file).absolute()}" for name, file in files.items() if file]
        flags += [f"--access_log={self.access_log}"] if self.access_log else []
        return (*flags, *(["--insecure"] if self.insecure else []))


def check_open(target: str, host: str, *, insecure: bool) -> None:
    """InputError if a target that asks nobody who they are is open to other machines without --insecure."""
    everywhere = target == BINARY and shutil.which(BINARY) is not None
    if insecure or (is_loopback(host) and not everywhere):
        return
    place = f"--target {target}: listens on every interface, whatever --host says" if everywhere else f"--host {host}"
    raise InputError(
        f"{place}: others than this machine reach it, and target {target} asks nobody who they are; expected one that "
        "only this machine reaches. Use `slipway serve --target embedded`, which asks, or pass --insecure if everybody "
        "who reaches it may use it."
    )
