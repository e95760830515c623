"""Where the API server has an object of a kind, and how a Role names what is done to it."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import quote, urlencode

from slipway.errors import InputError


@dataclass(frozen=True)
class Kind:
    """group: "" for Kubernetes' core. resource: the plural, as paths and Roles have it."""

    group: str
    version: str
    resource: str


KINDS = {
    "ConfigMap": Kind("", "v1", "configmaps"),
    "Deployment": Kind("apps", "v1", "deployments"),
    "HorizontalPodAutoscaler": Kind("autoscaling", "v2", "horizontalpodautoscalers"),
    "NetworkPolicy": Kind("networking.k8s.io", "v1", "networkpolicies"),
    "Pod": Kind("", "v1", "pods"),
    "PodDisruptionBudget": Kind("policy", "v1", "poddisruptionbudgets"),
    "Service": Kind("", "v1", "services"),
    "ServiceAccount": Kind("", "v1", "serviceaccounts"),
}

_METHODS = {"get": "GET", "list": "GET", "patch": "PATCH", "delete": "DELETE", "create": "POST"}


@dataclass(frozen=True)
class Call:
    """One request. verb: as a Role names it. name: of the object; "" for all. rest: what follows in the path."""

    verb: str
    kind: Kind
    namespace: str
    name: str = ""
    rest: str = ""
    query: Mapping[str, str] = field(default_factory=dict)
    document: Any = None
    content_type: str = "application/json"
    timeout_s: float = 30.0

    @property
    def method(self) -> str:
        """HTTP's word for the verb."""
        return _METHODS[self.verb]

    @property
    def resource(self) -> str:
        """As a Role has it, with the subresource."""
        subresource = self.rest.lstrip("/").partition("/")[0]
        return f"{self.kind.resource}/{subresource}" if subresource else self.kind.resource

    @property
    def path(self) -> str:
        """Below the API server's address, with the query."""
        root = f"/apis/{self.kind.group}/{self.kind.version}" if self.kind.group else f"/api/{self.kind.version}"
        path = f"{root}/namespaces/{quote(self.namespace, safe='')}/{self.kind.resource}"
        if self.name:
            path += f"/{quote(self.name, safe=':')}"
        query = f"?{urlencode(self.query)}" if self.query else ""
        return f"{path}{self.rest}{query}"

    @property
    def words(self) -> str:
        """What is asked for, to people."""
        of_group = f".{self.kind.group}" if self.kind.group else ""
        name = f" {self.name!r}" if self.name else ""
        return f"{self.verb} {self.resource}{of_group}{name} in namespace {self.namespace!r}"


def kind_of(document: Mapping[str, Any]) -> Kind:
    """The kind of an object; InputError for one that no row of KINDS is for."""
    kind = KINDS.get(str(document.get("kind")))
    group_version = "" if kind is None else f"{kind.group}/{kind.version}".lstrip("/")
    if kind is None or document.get("apiVersion") != group_version:
        raise InputError(
            f"object {document.get('apiVersion')} {document.get('kind')}: expected one of {', '.join(sorted(KINDS))}, "
            "in the version that is applied. Apply this one with kubectl."
        )
    return kind
