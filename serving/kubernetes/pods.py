"""A version's Pod, and the ConfigMap that its server reads."""

from serving.kubernetes.objects import Object, of_version, pod_security, version_metadata
from serving.kubernetes.resources import DRAIN_S, LEAVE_S, MODELS_SIZE, SCRATCH_SIZE
from serving.kubernetes.server import (
    CONFIG,
    MODEL_CONFIG,
    MONITORING_CONFIG,
    TOKENS,
    asks_for_tokens,
    server_container,
)
from serving.kubernetes.sidecar import KEYS, MODELS, MODELS_MOUNT, SCRATCH, sync_container
from serving.kubernetes.spec import ServedVersion
from serving.model_config import Wanted, labels_config

_MONITORING = 'prometheus_config { enable: true path: "/metrics" }\n'
_END_S = 10  # for the processes to end, once they have answered


def pod(served: ServedVersion) -> Object:
    """The Pod's spec: the server, and the sidecar that brings its versions."""
    return {
        "serviceAccountName": served.object_name,
        "automountServiceAccountToken": False,
        "enableServiceLinks": False,
        # TensorFlow Serving does not heed SIGTERM as process 1: it goes on until this ends it.
        "terminationGracePeriodSeconds": LEAVE_S + DRAIN_S + _END_S,
        "securityContext": pod_security(),
        "topologySpreadConstraints": [
            _spread(served, "kubernetes.io/hostname"),
            _spread(served, "topology.kubernetes.io/zone"),
        ],
        "initContainers": [sync_container(served)],
        "containers": [server_container(served)],
        "volumes": _volumes(served),
    }


def model_config(served: ServedVersion) -> Object:
    """The version's ConfigMap: a model config that names this version alone, labelled `stable`."""
    config = labels_config(None, served.name, f"{MODELS_MOUNT}/{served.name}", Wanted(champion=served.version))
    assert config is not None  # a champion is wanted
    return {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": version_metadata(served),
        "immutable": True,
        "data": {MODEL_CONFIG: config.decode(), MONITORING_CONFIG: _MONITORING},
    }


def _spread(served: ServedVersion, over: str) -> Object:
    return {
        "maxSkew": 1,
        "topologyKey": over,
        "whenUnsatisfiable": "ScheduleAnyway",  # two on one node are better than one
        "labelSelector": {"matchLabels": of_version(served)},
    }


def _volumes(served: ServedVersion) -> list[Object]:
    settings = served.settings
    tokens = {"name": TOKENS, "secret": {"secretName": settings.tokens_secret, "defaultMode": 0o440}}
    keys = {"name": KEYS, "configMap": {"name": settings.trusted_keys_map}}
    return [
        {"name": MODELS, "emptyDir": {"sizeLimit": MODELS_SIZE}},
        {"name": SCRATCH, "emptyDir": {"sizeLimit": SCRATCH_SIZE}},
        {"name": CONFIG, "configMap": {"name": served.version_name}},
        *([tokens] if asks_for_tokens(served) else []),
        *([keys] if settings.trusted_keys_map else []),
    ]
