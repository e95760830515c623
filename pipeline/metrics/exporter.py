"""The port that Prometheus asks, and the thread that reads for it: neither ever holds up a pass."""

import contextlib
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from pipeline.metrics.facts import ModelFacts
from pipeline.metrics.page import Known, LifecyclePage
from pipeline.reconcile.report import Report
from slipway.errors import InputError, SlipwayError

Read = Callable[[], tuple[ModelFacts, ...]]
Say = Callable[[str], None]
_STOP_S = 3.0


@dataclass(frozen=True)
class MetricsAddress:
    """Where Prometheus asks. port: 0 for any free one."""

    host: str
    port: int


class Exporter:
    """The facts as they were last read. `passed` may be called from any thread."""

    def __init__(self, read: Read, say: Say) -> None:
        self.known = Known()
        self._read = read
        self._say = say

    def look(self) -> None:
        """Read; where that fails, what was read before stays, and `slipway_registry_up` says so."""
        try:
            models = self._read()
        except Exception as error:  # noqa: BLE001 - whatever it is, the next look may do better
            if self.known.registry_up or self.known.read_s is None:
                foreseen = isinstance(error, SlipwayError)
                self._say(f"metrics: {'' if foreseen else f'{type(error).__name__}: '}{' '.join(str(error).split())}")
            self.known.registry_up = False
        else:
            self.known.models, self.known.read_s, self.known.registry_up = models, time.time(), True

    def passed(self, report: Report | None) -> None:
        """A pass was made here; None: another one makes them, and knows what is left."""
        models = () if report is None else report.models
        self.known.differences = {each.name: len(each.left) + bool(each.failed) + len(each.refused) for each in models}

    @contextlib.contextmanager
    def answering(self, address: MetricsAddress, interval_s: float) -> Iterator[str]:
        """Answer at that address, and read each `interval_s`, until the block ends; yields the page's address.

        InputError for an address that cannot be listened on.
        """
        from prometheus_client import CollectorRegistry, ProcessCollector, start_http_server

        registry = CollectorRegistry()
        registry.register(LifecyclePage(self.known))
        ProcessCollector(registry=registry)
        try:
            server, _thread = start_http_server(address.port, address.host, registry)
        except (OSError, OverflowError) as error:
            raise InputError(
                f"--metrics-port {address.port}: cannot listen on {address.host}:{address.port} ({error}); expected a "
                "free port. End what listens there, or pass another --metrics-port."
            ) from error
        stop = threading.Event()
        thread = threading.Thread(target=self._follow, args=(interval_s, stop), name="metrics", daemon=True)
        thread.start()
        try:
            yield f"http://{address.host}:{server.server_port}/metrics"
        finally:
            stop.set()
            server.shutdown()
            server.server_close()
            thread.join(_STOP_S)

    def _follow(self, interval_s: float, stop: threading.Event) -> None:
        while not stop.is_set():
            self.look()
            stop.wait(interval_s)
