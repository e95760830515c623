"""What the loop does at each pass: for the servers that follow the base path, or for another target."""

import contextlib
import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from pipeline.config import Config
from pipeline.progress import report
from pipeline.reconcile.cluster_world import ClusterDoor, cluster_world
from pipeline.reconcile.report import Report
from pipeline.reconcile.scoring_server import ScoringAddress, ScoringServer
from pipeline.reconcile.settle import pass_alone
from pipeline.reconcile.watch import Outcome, watch
from pipeline.reconcile.webhook_bell import WebhookAddress, WebhookBell
from pipeline.reconcile.world import World, open_world, read_listing
from registry.lease import renewed_lease
from registry.ledger import Ledger
from registry.mlflow_errors import check_reachable
from serving.model_config import STABLE

if TYPE_CHECKING:
    from pipeline.metrics.exporter import MetricsAddress

KEY = "watch"  # the lease of the one who watches; "reconcile" is held for a pass, so that a command may come between
_PASS_WAIT_S = 5.0


@dataclass(frozen=True)
class WatchOptions:
    """What wakes the loop, and what serves: the configuration's servers, or one of the two others.

    scoring: for MLflow's scoring server. cluster: for a Kubernetes cluster.
    alive: a file that is touched at each turn and while a pass waits, for a probe that asks whether it still does.
    metrics: where Prometheus asks.
    """

    webhooks: WebhookAddress | None = None
    scoring: ScoringAddress | None = None
    cluster: ClusterDoor | None = None
    alive: Path | None = None
    metrics: "MetricsAddress | None" = None


def watch_registry(config: Config, options: WatchOptions, stop: threading.Event) -> None:
    """Follow the registry until `stop` is set, or a KeyboardInterrupt.

    What happens goes to standard error, a line each, with its time.

    InputError for options that cannot be; whatever fails later is said, and tried again.
    """
    import mlflow

    wake = threading.Event()
    tracking_uri = mlflow.get_tracking_uri()
    bell = None
    if options.webhooks is not None:
        place = config.base if config.base_is_remote else str(Path(config.base).absolute())
        bell = WebhookBell(options.webhooks, place, tracking_uri, wake, _say)
    with contextlib.ExitStack() as answering:
        on_pass = _exported(config, options.metrics, tracking_uri, answering) if options.metrics else _nobody_asks
        turn = RegistryTurn(config, options, bell, tracking_uri, on_pass)
        # A pass may be stopped anywhere: the next one finishes it.
        answering.enter_context(contextlib.suppress(KeyboardInterrupt))
        answering.enter_context(contextlib.closing(turn))
        watch(turn, config.reconcile.interval_s, wake, stop, _say, turn.alive)
    _say("stopped")


def _nobody_asks(_report: Report | None) -> None:
    pass


def _exported(
    config: Config, address: "MetricsAddress", tracking_uri: str, answering: contextlib.ExitStack
) -> Callable[[Report | None], None]:
    """Answer Prometheus until `answering` ends; returns what is to be told of each pass."""
    from pipeline.metrics.exporter import Exporter
    from pipeline.metrics.reading import LifecycleReader

    exporter = Exporter(LifecycleReader(config, tracking_uri).read, _say)
    page = answering.enter_context(exporter.answering(address, config.reconcile.interval_s))
    _say(f"metrics: {page}")
    return exporter.passed


class RegistryTurn:
    """See Turn: passes over the registry's models, under the lease "watch" while it leads.

    on_pass: told of each pass, and by None that there will be no more of them for now.
    """

    def __init__(
        self,
        config: Config,
        options: WatchOptions,
        bell: WebhookBell | None,
        tracking_uri: str,
        on_pass: Callable[[Report | None], None] = _nobody_asks,
    ) -> None:
        self._config = config
        self._scoring, self._cluster = options.scoring, options.cluster
        self._bell = bell
        self._tracking_uri = tracking_uri
        self.alive = options.alive.touch if options.alive else lambda: None
        self._on_pass = on_pass
        self._ledger: Ledger | None = None
        self._world: World | None = None
        self._server: ScoringServer | None = None

    @contextlib.contextmanager
    def lead(self) -> Iterator[Callable[[], None]]:
        """See Turn."""
        if self._ledger is None:
            from registry.database import default_database_url

            self._ledger = Ledger(default_database_url(self._tracking_uri))
        listening: AbstractContextManager[None] = self._bell.listening() if self._bell else contextlib.nullcontext()
        with (
            renewed_lease(self._ledger, KEY, self._config.reconcile.lease_s) as held,
            open_world(self._config) as world,
            self._serving(world) as served_by,
            listening,
        ):
            self._world = replace(served_by, say=_say, check=self.alive)
            try:
                yield held.check
            finally:
                self._on_pass(None)

    def one_pass(self) -> Outcome:
        """See Turn."""
        assert self._world is not None, "a pass is made while leading"
        world, name = self._world, self._config.name
        check_reachable(self._tracking_uri)  # in a moment, and in the same words each time
        if self._bell is not None:
            self._bell.ensure()
        if self._server is not None:
            self._server.keep_serving(read_listing(world, name)[0].labels.get(STABLE))
        made = pass_alone(world, None if self._server is None else (name,), wait_s=_PASS_WAIT_S)
        self._on_pass(made)
        lines = [] if made.quiet else [made.text()]
        if self._bell is not None and (news := self._bell.news()):
            lines.append(news)
        return Outcome("\n".join(lines), failed=any(each.failed for each in made.models))

    def close(self) -> None:
        """Let go of the ledger."""
        if self._ledger is not None:
            self._ledger.engine.dispose()

    @contextlib.contextmanager
    def _serving(self, world: World) -> Iterator[World]:
        """The world with what serves in it."""
        if self._cluster is not None:
            yield cluster_world(world, self._cluster)
            return
        if self._scoring is None:
            yield world
            return
        from pipeline.serve import fetched_model

        server = ScoringServer(self._scoring, world.registry, fetched_model, _say)
        with contextlib.closing(server):
            self._server = server
            try:
                yield replace(world, serving=server)
            finally:
                self._server = None


def _say(text: str) -> None:
    now = datetime.now(UTC).strftime("%Y-%m-%d %H:%M:%S")
    for line in text.splitlines():
        report(f"{now} {line}")
