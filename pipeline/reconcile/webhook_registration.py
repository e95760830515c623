"""Our webhook in MLflow: registered where the server allows it, in place of our own earlier one, deleted at the end."""

import contextlib
import platform
import threading
from collections.abc import Callable, Iterator
from typing import Any
from urllib.parse import urlsplit

from registry.mlflow_calls import few_retries
from registry.mlflow_errors import check_reachable, mlflow_errors
from slipway.credentials import without_credentials
from slipway.errors import NotFoundError, SlipwayError, UnavailableError
from slipway.files import sha256_bytes

# Aliases alone. A stage has no event: polling finds it. Tags are what reconcile itself writes: it would wake itself.
EVENTS = ("model_version_alias.created", "model_version_alias.deleted")
_PAGE = 100


def webhook_name(base: str) -> str:
    """The name in MLflow of the webhook for the base path on this machine; another base's is another."""
    return f"slipway-reconcile-{sha256_bytes(f'{platform.node()} {base}'.encode())[:12]}"


class WebhookRegistration:
    """Keeps one webhook registered at `tracking_uri`, which delivers to `url`, signed with `secret`.

    Nothing here raises a SlipwayError: without webhooks the loop polls. Each outcome is said once, through `say`.
    """

    def __init__(self, tracking_uri: str, name: str, url: str, secret: str, say: Callable[[str], None]) -> None:
        self._tracking_uri = tracking_uri
        self._name = name
        self._url = url
        self._secret = secret
        self._say = say
        self._id: str | None = None
        self._refused = False

    def ensure(self) -> None:
        """Register, unless that is done or was refused. While the server is away, the next call tries again."""
        if self._id is not None or self._refused:
            return
        if urlsplit(self._tracking_uri).scheme not in {"http", "https"}:
            self._refuse("the tracking address is a database, and only MLflow's server sends them")
            return
        try:
            check_reachable(self._tracking_uri)
            with self._errors():
                self._delete_earlier()
                created = self._client.create_webhook(
                    self._name, self._url, list(EVENTS), "wakes `slipway reconcile --watch`", self._secret
                )
        except UnavailableError:
            return  # the pass that follows says so
        except SlipwayError as error:
            self._refuse(str(error))
            return
        self._id = created.webhook_id
        # A server that cannot reach the address takes minutes to say so.
        threading.Thread(target=self._try, args=(created.webhook_id,), name="webhook-test", daemon=True).start()

    def withdraw(self) -> None:
        """Delete the webhook, if it is registered; `ensure` then registers it anew."""
        webhook_id, self._id = self._id, None
        if webhook_id is None:
            return
        try:
            check_reachable(self._tracking_uri)
            with contextlib.suppress(NotFoundError), self._errors():
                self._client.delete_webhook(webhook_id)
        except SlipwayError as error:
            self._say(f"webhook {self._name} stays registered ({error}); the next `reconcile` replaces it")

    @property
    def _client(self) -> Any:
        import mlflow

        return mlflow.MlflowClient(self._tracking_uri)

    @contextlib.contextmanager
    def _errors(self) -> Iterator[None]:
        place = f"tracking server {without_credentials(self._tracking_uri)}: webhook {self._name}"
        with mlflow_errors(place), few_retries():
            yield

    def _delete_earlier(self) -> None:
        for webhook_id in [each.webhook_id for each in self._registered() if each.name == self._name]:
            self._client.delete_webhook(webhook_id)

    def _registered(self) -> Iterator[Any]:
        token = None
        while True:
            page = self._client.list_webhooks(max_results=_PAGE, page_token=token)
            yield from page
            token = page.token
            if not token:
                return

    def _try(self, webhook_id: str) -> None:
        try:
            with self._errors():
                result = self._client.test_webhook(webhook_id)
        except SlipwayError as error:
            self._say(f"webhook {self._name}: not tried ({error})")
            return
        if result.success:
            self._say(f"webhook {self._name}: MLflow delivers to {self._url}")
            return
        self._say(
            f"webhook {self._name}: MLflow cannot deliver to {self._url} ({_reason(result)}); polling goes on. "
            "Pass an address that it reaches as --webhook-url."
        )

    def _refuse(self, reason: str) -> None:
        self._refused = True
        self._say(f"no webhooks: {reason.rstrip('.')}; polling alone")


def _reason(result: Any) -> str:
    """Why a test delivery failed: the innermost of what MLflow quotes."""
    if result.response_status:
        return f"HTTP {result.response_status}"
    return without_credentials(str(result.error_message)).rpartition(": ")[2].strip("'\"()\\")
