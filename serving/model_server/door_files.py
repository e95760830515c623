"""What the flags say of the doors in files: read before anything is loaded, since a mistake stops the start."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from serving.model_server.flags import Flags
from serving.model_server.grpc_arguments import parse_channel_arguments
from serving.model_server.monitoring import metrics_path
from serving.model_server.tls import read_tls
from serving.wire.ssl_config_pb2 import SSLConfig


@dataclass(frozen=True)
class DoorFiles:
    """tls: None is plain text. arguments: gRPC's own. metrics: the path that the metrics are at, if they are."""

    tls: SSLConfig | None
    arguments: Sequence[tuple[str, str | int]]
    metrics: str | None


def read_door_files(flags: Flags) -> DoorFiles:
    """Read them; InputError names the file, and the line, or the flag that is wrong."""
    return DoorFiles(
        read_tls(Path(flags.ssl_config_file)) if flags.ssl_config_file else None,
        parse_channel_arguments(flags.grpc_channel_arguments),
        metrics_path(Path(flags.monitoring_config_file)) if flags.monitoring_config_file else None,
    )
