"""How a version in a cluster is asked its golden requests, at its own Service, before it takes traffic."""

import contextlib
import os
from contextlib import AbstractContextManager
from dataclasses import dataclass

from pipeline.verify import Answering, Pace, compare_golden
from registry.client import ModelVersion
from serving.client.address import parse_address
from serving.cluster.api import Api
from serving.kubernetes.spec import ServedVersion
from serving.servable.golden import GoldenReport
from serving.stores import Store
from slipway.errors import InputError

PROXY = "proxy"
_IN_CLUSTER = "grpc://{service}.{namespace}.svc:8500"
_PORT = "rest"  # of a version's Service
_TIMEOUT_S = 120.0
_OVER_JSON = Pace(batch=4, in_flight=1)  # four images of 224 x 224 are 2.2 MB
_OVER_GRPC = Pace(batch=8, in_flight=4)


@dataclass(frozen=True)
class Route:
    """pattern: an address with {service}, and {namespace} if need be, or `proxy`: through the API server.

    InputError for a pattern that could reach another version.
    """

    pattern: str

    def __post_init__(self) -> None:
        if self.pattern == PROXY:
            return
        if "{service}" not in self.pattern:
            raise InputError(
                f"--ask-at {self.pattern!r:.120}: expected {PROXY}, or an address with {{service}} in it, such as "
                f"{_IN_CLUSTER}. Each version has a Service of its own: write it so."
            )
        parse_address(self._filled("digits-v1", "slipway"))

    def ask(self, api: Api, served: ServedVersion, version: ModelVersion, store: Store) -> GoldenReport:
        """Ask the version's Service; IntegrityError if it answers otherwise, InputError if it cannot answer at all."""
        from serving.client.http import Http
        from serving.client.tensorflow_serving_grpc import TensorFlowServingGrpc
        from serving.client.tensorflow_serving_rest import TensorFlowServingRest
        from serving.cluster.service_proxy import ServiceProxy

        name, number = version.name, version.version
        namespace, service = served.settings.namespace, served.version_name
        place, pace = self._filled(service, namespace), _OVER_JSON
        if self.pattern == PROXY:
            proxy = ServiceProxy(api, namespace, service, _PORT)
            place = proxy.address

        def connected() -> AbstractContextManager[Answering]:
            if self.pattern == PROXY:
                return contextlib.nullcontext(TensorFlowServingRest(proxy, name, label=None, version=number))
            address = parse_address(place)
            if address.is_grpc:
                grpc = TensorFlowServingGrpc(address, name, label=None, version=number, timeout_s=_TIMEOUT_S)
                return contextlib.closing(grpc)
            rest = TensorFlowServingRest(Http(address, _TIMEOUT_S), name, label=None, version=number)
            return contextlib.closing(rest)

        if self.pattern != PROXY and parse_address(place).is_grpc:
            pace = _OVER_GRPC
        return compare_golden(connected, place, version, store, pace)

    def _filled(self, service: str, namespace: str) -> str:
        return self.pattern.replace("{service}", service).replace("{namespace}", namespace)


def route(pattern: str | None) -> Route:
    """The route of that pattern; without one, gRPC by the Service's name inside a Pod, and else the API's proxy."""
    inside = "KUBERNETES_SERVICE_HOST" in os.environ and not os.environ.get("KUBECONFIG")
    return Route(pattern or (_IN_CLUSTER if inside else PROXY))
