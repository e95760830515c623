"""What the flags say of the doors in files: read before anything is loaded, since a mistake stops the start."""

import logging
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from serving.model_server.access import Access
from serving.model_server.access_log import AccessLog
from serving.model_server.addresses import is_loopback
from serving.model_server.flags import Flags
from serving.model_server.grpc_arguments import parse_channel_arguments
from serving.model_server.monitoring import metrics_path
from serving.model_server.tls import Certificates
from slipway.errors import InputError

_LOOK_S = 1.0  # so long, at most, does a token that was removed still open
_LOG = logging.getLogger(__name__)


@dataclass(frozen=True)
class DoorFiles:
    """certificates: None is plain text. access: None lets in everybody. log: None writes nothing of requests.

    arguments: gRPC's own. metrics: the path that the metrics are at, if they are.
    """

    certificates: Certificates | None
    access: Access | None
    log: AccessLog | None
    arguments: Sequence[tuple[str, str | int]]
    metrics: str | None

    def follow(self) -> None:
        """Do as the files say whenever they change, on a thread that ends with the process."""
        looks = [one.file.look for one in (self.certificates, self.access) if one is not None]
        looks += [self.log.look] if self.log is not None else []
        if looks:
            threading.Thread(target=_look, args=(looks,), name="doors", daemon=True).start()


def read_door_files(flags: Flags, on_denied: Callable[[str, str], None] = lambda _api, _reason: None) -> DoorFiles:
    """Read them; InputError names the file, and the line, or the flag that is wrong, or what is open to everybody.

    on_denied: told the API and the reason of each request that is not let in.
    """
    certificates = Certificates(Path(flags.ssl_config_file)) if flags.ssl_config_file else None
    access = Access(Path(flags.access_tokens_file), on_denied) if flags.access_tokens_file else None
    for one in (certificates, access):
        if one is not None:
            one.file.start()
    metrics = metrics_path(Path(flags.monitoring_config_file)) if flags.monitoring_config_file else None
    arguments = parse_channel_arguments(flags.grpc_channel_arguments)
    _check_closed(flags, access, certificates)
    log = AccessLog(flags.access_log) if flags.access_log else None
    return DoorFiles(certificates, access, log, arguments, metrics)


def _check_closed(flags: Flags, access: Access | None, certificates: Certificates | None) -> None:
    if is_loopback(flags.host) or not (flags.port or flags.rest_api_port):
        return
    verified = certificates is not None and certificates.verify_clients
    if access is None and not verified:
        if not flags.insecure:
            raise InputError(
                f"--host={flags.host}: others than this machine reach it, and nothing asks who they are; expected "
                "--access_tokens_file=FILE (make one with `slipway tokens create`), or client_verify in "
                "--ssl_config_file. Give one of them, or --insecure if everybody who reaches it may use it."
            )
        _LOG.warning("--insecure: everybody who reaches %s may use this server and change what it serves", flags.host)
    elif certificates is None:
        _LOG.warning(
            "tokens come to %s in plain text: give --ssl_config_file unless the way there is private", flags.host
        )


def _look(looks: Sequence[Callable[[], None]]) -> None:
    pause = threading.Event()
    while not pause.wait(_LOOK_S):
        for look in looks:
            try:
                look()
            except Exception:  # noqa: BLE001  the thread must outlive whatever a file does to it
                _LOG.exception("looking at a file of the doors failed in a way that was not foreseen")
