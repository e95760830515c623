"""MLflow's webhooks as a doorbell: while it is listened for, each delivery that holds wakes the loop."""

import contextlib
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from pipeline.reconcile.webhook import Deliveries, Tally, webhook_secret
from pipeline.reconcile.webhook_registration import WebhookRegistration, webhook_name
from pipeline.reconcile.webhook_server import WebhookApp, webhook_server
from slipway.errors import InputError

Say = Callable[[str], None]


@dataclass(frozen=True)
class WebhookAddress:
    """Where to listen for deliveries. url: how MLflow's server reaches that; "" if as we do."""

    host: str = "127.0.0.1"
    port: int = 0
    url: str = ""

    def __post_init__(self) -> None:
        if not 0 <= self.port <= 65535:
            raise InputError(f"--webhook-port {self.port}: expected a port from 1 to 65535, or 0 for any free one.")
        if self.url and not self.url.startswith(("http://", "https://")):
            raise InputError(f"--webhook-url {self.url!r}: expected http://HOST:PORT or https://HOST, with any path.")


class WebhookBell:
    """Sets `wake` for each delivery of the tracking server at `tracking_uri` about the aliases of its models.

    base: the base path whose loop this is, for the webhook's name in MLflow. Where there can be no webhooks, it says so
    once and never rings. InputError for a secret in the environment that can be guessed.
    """

    def __init__(self, address: WebhookAddress, base: str, tracking_uri: str, wake: threading.Event, say: Say) -> None:
        self._address = address
        self._name = webhook_name(base)
        self._tracking_uri = tracking_uri
        self._wake = wake
        self._say = say
        self._secret = webhook_secret()
        self._deliveries = Deliveries(self._secret)
        self._told = Tally()
        self._registration: WebhookRegistration | None = None

    @contextlib.contextmanager
    def listening(self) -> Iterator[None]:
        """Listen for the length of the block; nothing is registered any more at its end."""
        with contextlib.ExitStack() as stack:
            try:
                app = WebhookApp(self._deliveries, self._wake)
                ours = stack.enter_context(webhook_server(app, self._address.host, self._address.port))
            except InputError as error:
                self._say(f"no webhooks: {error} Polling alone")
            else:
                url = self._address.url or ours
                registration = WebhookRegistration(self._tracking_uri, self._name, url, self._secret, self._say)
                stack.callback(registration.withdraw)
                self._registration = registration
            try:
                yield
            finally:
                self._registration = None

    def ensure(self) -> None:
        """Register with MLflow, where that is not done yet and the server answers."""
        if self._registration is not None:
            self._registration.ensure()

    def news(self) -> str:
        """How many deliveries came, if any came since the last call; else ""."""
        tally = self._deliveries.tally()
        if tally == self._told:
            return ""
        self._told = tally
        return f"webhooks: {tally.text()}"
