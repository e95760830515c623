"""The Services: a version's own, and the model's, which names the live version."""

from serving.kubernetes.objects import Object, model_metadata, of_version, version_annotations, version_metadata
from serving.kubernetes.server import GRPC_PORT, REST_PORT
from serving.kubernetes.spec import ServedVersion


def version_service(served: ServedVersion) -> Object:
    """The Service `<name>-v<version>`: it reaches this version, live or not."""
    return _service(version_metadata(served), served)


def live_service(served: ServedVersion) -> Object:
    """The Service `<name>`, of which clients know: its selector names this version."""
    metadata = model_metadata(served)
    return _service(metadata | {"annotations": version_annotations(served)}, served)


def _service(metadata: Object, served: ServedVersion) -> Object:
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": metadata,
        "spec": {
            "type": "ClusterIP",
            "selector": of_version(served),
            "ports": [
                {"name": "grpc", "port": GRPC_PORT, "targetPort": "grpc", "appProtocol": "kubernetes.io/h2c"},
                {"name": "rest", "port": REST_PORT, "targetPort": "rest", "appProtocol": "http"},
            ],
        },
    }
