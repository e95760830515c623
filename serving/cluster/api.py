"""The one door to Kubernetes' official client: its configuration, credentials and connections."""

import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from serving.client.http import Response
from serving.cluster.calls import Call
from serving.cluster.refusals import is_status, refusal
from slipway.errors import InputError, UnavailableError

if TYPE_CHECKING:
    from kubernetes.client import ApiClient

_AGAIN = {429, 500, 502, 503, 504}  # 500 says itself that it may be tried again where an answer took too long
_ATTEMPTS = 6
_LONGEST_S = 20.0  # how long one request is tried again, whatever Retry-After asks for
_FIRST_PAUSE_S = 0.2
_CONNECT_S = 5.0


class Api:
    """Requests to one API server by one user, with what is worth trying again tried again. May be used by threads."""

    def __init__(self, client: "ApiClient", pause: Callable[[float], None] = time.sleep) -> None:
        self._client = client
        self._pause = pause
        self.address = str(client.configuration.host)

    def ask(self, call: Call) -> Any:
        """The answer as JSON; SlipwayError, in our words, for a refusal, UnavailableError for no answer."""
        response = self.send(call)
        if response.status >= 400:
            raise refusal(self.address, call, response)
        return response.document

    def send(self, call: Call) -> Response:
        """Any answer, once the API server is not too busy to give it; what a server behind its proxy says, at once.

        UnavailableError if there is none.
        """
        waited_s, stale = 0.0, True
        for attempt in range(_ATTEMPTS):
            try:
                response = self._once(call)
            except ConnectionResetError:
                # The server may have closed a connection that was idle. All that is asked can be asked twice.
                if not stale:
                    raise UnavailableError(self._no_answer(call, "closed the connection")) from None
                stale = False
                continue
            if response.status not in _AGAIN or not is_status(response):
                return response
            pause_s = _retry_after_s(response) or _FIRST_PAUSE_S * 2**attempt
            if attempt + 1 == _ATTEMPTS or waited_s + pause_s > _LONGEST_S:
                return response
            self._pause(pause_s)
            waited_s += pause_s
        return response

    def close(self) -> None:
        """Let go of the connections."""
        self._client.close()

    def _once(self, call: Call) -> Response:
        import urllib3.exceptions
        from kubernetes.client.exceptions import ApiException

        headers = {"Accept": "application/json", "User-Agent": "slipway"}
        if call.document is not None:
            headers["Content-Type"] = call.content_type
        try:
            method, url, headers, _, _ = self._client.param_serialize(
                call.method, call.path, header_params=headers, auth_settings=["BearerToken"]
            )
            answer = self._client.call_api(
                method, url, header_params=headers, body=call.document, _request_timeout=(_CONNECT_S, call.timeout_s)
            )
            data = answer.read()
        except urllib3.exceptions.ProtocolError as error:
            raise ConnectionResetError(str(error)) from error
        except (urllib3.exceptions.HTTPError, ApiException) as error:
            raise UnavailableError(self._no_answer(call, _said(error))) from error
        return Response(answer.status, {name.lower(): value for name, value in answer.headers.items()}, data or b"")

    def _no_answer(self, call: Call, how: str) -> str:
        return (
            f"the API server {self.address} did not answer {call.words}: {how}; expected a cluster's API. Look whether "
            "it runs there, or name another context with --context."
        )


def open_api(context: str | None = None) -> Api:
    """The API server of the kubeconfig (KUBECONFIG, or ~/.kube/config) or, inside a Pod, of its cluster.

    InputError if there is neither, if the kubeconfig has no such context, or if the extra is not installed.
    """
    try:
        from kubernetes import client, config
        from kubernetes.config.config_exception import ConfigException
    except ImportError as error:
        raise InputError(
            "the target kubernetes needs the package kubernetes, which is not installed; expected it. "
            "Run `pip install 'slipway[kubernetes]'`."
        ) from error
    settings = client.Configuration()
    settings.retries = False  # the door tries again by itself, by what the API server says
    file = os.environ.get("KUBECONFIG") or str(Path("~/.kube/config").expanduser())
    in_cluster = not os.environ.get("KUBECONFIG") and "KUBERNETES_SERVICE_HOST" in os.environ
    try:
        if in_cluster and context is None:
            config.load_incluster_config(client_configuration=settings)
        else:
            config.load_kube_config(file, context, settings, persist_config=False)
    except (ConfigException, OSError, ValueError, TypeError, KeyError) as error:
        place = "this Pod's service account" if in_cluster and context is None else f"kubeconfig {file}"
        raise InputError(
            f"{place}: {' '.join(str(error).split()).rstrip('.')}; expected how to reach a cluster. Set KUBECONFIG, or "
            "pass --context."
        ) from error
    return Api(client.ApiClient(settings))


def _retry_after_s(response: Response) -> float:
    """What the server asks to wait; 0.0 if it does not say."""
    text = response.headers.get("retry-after", "")
    return float(text) if text.isdigit() else 0.0


def _said(error: Exception) -> str:
    reason = getattr(error, "reason", None) or error
    return " ".join(str(reason).split()).rpartition(">: ")[2].rstrip(".")
