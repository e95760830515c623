"""A server's REST API through the API server's proxy: it needs no route to the cluster's network, only to its API."""

from typing import Any

from serving.client.credentials import DENIED_STATUSES, CredentialsError
from serving.client.http import Response
from serving.cluster.api import Api
from serving.cluster.calls import KINDS, Call
from serving.cluster.refusals import is_status, refusal

_ANSWER_S = 120.0


class ServiceProxy:
    """See Exchange. Any answer of the server behind the Service is an answer; one of the API server itself raises.

    The API server takes the Authorization header for itself: CredentialsError from a server that asks for a token.
    """

    def __init__(self, api: Api, namespace: str, service: str, port: str) -> None:
        """port: the name of the Service's port."""
        self._api = api
        self._namespace = namespace
        self._name = f"{service}:{port}"

    @property
    def address(self) -> str:
        """Where the server is, to people."""
        return f"{self._api.address}/api/v1/namespaces/{self._namespace}/services/{self._name}/proxy"

    def get(self, path: str) -> Response:
        """GET `path` of the server."""
        return self._exchange("get", path, None)

    def post(self, path: str, document: Any) -> Response:
        """POST `document` as JSON to `path` of the server."""
        return self._exchange("create", path, document)

    def close(self) -> None:
        """Nothing is held here: the connections are the API's."""

    def _exchange(self, verb: str, path: str, document: Any) -> Response:
        call = Call(
            verb,
            KINDS["Service"],
            self._namespace,
            self._name,
            rest=f"/proxy{path}",
            document=document,
            timeout_s=_ANSWER_S,
        )
        response = self._api.send(call)
        if response.status >= 400 and is_status(response):
            raise refusal(self._api.address, call, response)
        if response.status in DENIED_STATUSES:
            raise CredentialsError(
                f"{self.address}: the server wants a token ({response.message}), which the API server's proxy does not "
                "pass on; expected another way to it. Run inside the cluster, or pass --ask-at."
            )
        return response
