"""What holds for a model's Pods: who they are, who may reach them, how many there are, and how many may be away."""

from urllib.parse import urlsplit

from serving.kubernetes.names import CLIENT_LABEL
from serving.kubernetes.objects import Object, model_metadata, of_model, of_version, version_annotations
from serving.kubernetes.resources import CPU_UTILIZATION
from serving.kubernetes.server import GRPC_PORT, REST_PORT
from serving.kubernetes.sidecar import PORT as SYNC_PORT
from serving.kubernetes.spec import ServedVersion


def service_account(served: ServedVersion) -> Object:
    """Who the Pods are; none of them has a token for the cluster's API."""
    return {
        "apiVersion": "v1",
        "kind": "ServiceAccount",
        "metadata": model_metadata(served),
        "automountServiceAccountToken": False,
    }


def network_policy(served: ServedVersion) -> Object:
    """Pods with the label slipway/client may ask, of any namespace; the Pods themselves reach names and S3 alone."""
    clients = [{"namespaceSelector": {}, "podSelector": {"matchLabels": {CLIENT_LABEL: "true"}}}]
    return {
        "apiVersion": "networking.k8s.io/v1",
        "kind": "NetworkPolicy",
        "metadata": model_metadata(served),
        "spec": {
            "podSelector": {"matchLabels": of_model(served)},
            "policyTypes": ["Ingress", "Egress"],
            "ingress": [{"from": clients, "ports": [_tcp(GRPC_PORT), _tcp(REST_PORT), _tcp(SYNC_PORT)]}],
            "egress": [
                {"ports": [_tcp(53), {"protocol": "UDP", "port": 53}]},
                {"ports": [_tcp(_s3_port(served.s3_endpoint))]},
            ],
        },
    }


def autoscaler(served: ServedVersion) -> Object:
    """As many replicas of this version as its server's processor time asks for."""
    return {
        "apiVersion": "autoscaling/v2",
        "kind": "HorizontalPodAutoscaler",
        "metadata": _naming_the_live(served),
        "spec": {
            "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": served.version_name},
            "minReplicas": served.settings.replicas,
            "maxReplicas": served.settings.max_replicas,
            "metrics": [
                {
                    "type": "ContainerResource",  # the sidecar's idle share would hide a busy server
                    "containerResource": {
                        "name": "cpu",
                        "container": "server",
                        "target": {"type": "Utilization", "averageUtilization": CPU_UTILIZATION},
                    },
                }
            ],
            "behavior": {"scaleDown": {"stabilizationWindowSeconds": 300}},
        },
    }


def disruption_budget(served: ServedVersion) -> Object:
    """Of this version's Pods one at a time may be taken away; one that does not get ready holds no node's drain."""
    return {
        "apiVersion": "policy/v1",
        "kind": "PodDisruptionBudget",
        "metadata": _naming_the_live(served),
        "spec": {
            "maxUnavailable": 1,
            "unhealthyPodEvictionPolicy": "AlwaysAllow",
            "selector": {"matchLabels": of_version(served)},
        },
    }


def _naming_the_live(served: ServedVersion) -> Object:
    return model_metadata(served) | {"annotations": version_annotations(served)}


def _tcp(port: int) -> Object:
    return {"protocol": "TCP", "port": port}


def _s3_port(endpoint: str | None) -> int:
    parts = urlsplit(endpoint or "https://s3.amazonaws.com")
    return parts.port or (80 if parts.scheme == "http" else 443)
