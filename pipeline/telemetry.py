"""What `slipway serve` is told of metrics, log and traces: of the server, and of the watcher beside it."""

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from serving.targets.process import check_port_free
from serving.targets.telemetry import Telemetry
from slipway.errors import InputError

METRICS_PATH = "/metrics"
_LOOPBACK = "127.0.0.1"


@dataclass(frozen=True)
class Show:
    """What is to be seen of a server; each but the last as `Telemetry` has it.

    metrics: whether they are on the REST port, at METRICS_PATH. reconcile_metrics_port: where the watcher has its own.
    """

    metrics: bool = False
    log_format: str = ""
    trace_endpoint: str = ""
    trace_sample: float | None = None
    reconcile_metrics_port: int | None = None

    @contextmanager
    def telemetry(self) -> Iterator[Telemetry]:
        """As a target takes it, for the length of the block."""
        with tempfile.TemporaryDirectory(prefix="slipway-metrics-") as scratch:
            file = None
            if self.metrics:
                file = Path(scratch, "monitoring.config")
                file.write_text(f'prometheus_config {{ enable: true path: "{METRICS_PATH}" }}\n', encoding="utf-8")
                # TensorFlow Serving's container may run as somebody else.
                file.parent.chmod(0o755)
                file.chmod(0o644)
            yield Telemetry(file, self.log_format, self.trace_endpoint, self.trace_sample)

    def watcher_arguments(self, *, reconcile: bool) -> tuple[str, ...]:
        """What `slipway reconcile --watch` is told; InputError if the port is not free, or nobody is to have it."""
        port = self.reconcile_metrics_port
        if port is None:
            return ()
        flag = "--reconcile-metrics-port"
        if not reconcile:
            raise InputError(f"{flag} {port}: it is the watcher's; expected --reconcile with it. Pass that too.")
        if not 1 <= port <= 65535:
            raise InputError(f"{flag} {port}: expected a port from 1 to 65535. Pass another {flag}.")
        # The watcher starts after the server: it would end by that, and promotions would wait unseen.
        check_port_free(flag, _LOOPBACK, port)
        return (f"--metrics-port={port}",)
