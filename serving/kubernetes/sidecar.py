"""The container that mirrors a version from S3 to a volume, beside the one that serves it."""

from serving.kubernetes.objects import Object, container_security, every, from_secret
from serving.kubernetes.resources import SYNC, SYNC_S
from serving.kubernetes.spec import ServedVersion

MODELS, MODELS_MOUNT = "models", "/models"
SCRATCH, SCRATCH_MOUNT = "scratch", "/tmp"  # noqa: S108 - a Pod has its own # nosec B108
KEYS, KEYS_MOUNT = "trusted-keys", "/trusted-keys"
PORT = 8600


def sync_container(served: ServedVersion) -> Object:
    """The sidecar: an init container that goes on, so that the server starts when the first turn is whole."""
    settings = served.settings
    arguments = [
        f"--from={served.base.rstrip('/')}",
        f"--to={MODELS_MOUNT}",
        f"--model={served.name}",
        f"--version={served.version}",
        "--host=0.0.0.0",
        f"--port={PORT}",
        *([f"--trusted-keys={KEYS_MOUNT}"] if settings.trusted_keys_map else []),
    ]
    return {
        "name": "sync",
        "image": settings.sync_image,
        "restartPolicy": "Always",
        "command": ["python", "-m", "serving.sync"],
        "args": arguments,
        "env": variables(served),
        "envFrom": from_secret(settings.s3_secret),
        "ports": [{"name": "sync", "containerPort": PORT}],
        "startupProbe": {"httpGet": {"path": "/readyz", "port": "sync"}, **every(2, SYNC_S)},
        "livenessProbe": {"httpGet": {"path": "/livez", "port": "sync"}, **every(10, 60)},
        "readinessProbe": {"httpGet": {"path": "/readyz", "port": "sync"}, **every(10, 30)},
        "resources": SYNC,
        "securityContext": container_security(),
        "volumeMounts": [
            {"name": MODELS, "mountPath": MODELS_MOUNT},
            {"name": SCRATCH, "mountPath": SCRATCH_MOUNT},
            *keys_mount(served),
        ],
    }


def keys_mount(served: ServedVersion) -> list[Object]:
    """The mount of the public keys, if signatures are asked for."""
    asked = bool(served.settings.trusted_keys_map)
    return [{"name": KEYS, "mountPath": KEYS_MOUNT, "readOnly": True}] if asked else []


def variables(served: ServedVersion) -> list[Object]:
    """The variables of the container that are no secret."""
    endpoint = [{"name": "AWS_ENDPOINT_URL_S3", "value": served.s3_endpoint}] if served.s3_endpoint else []
    return [{"name": "HOME", "value": SCRATCH_MOUNT}, *endpoint]
