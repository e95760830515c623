"""The container that serves a version: the embedded model server, or TensorFlow Serving."""

from serving.kubernetes.objects import Object, container_security, every
from serving.kubernetes.resources import DRAIN_S, LEAVE_S, LOAD_S, SERVER
from serving.kubernetes.sidecar import KEYS_MOUNT, MODELS, MODELS_MOUNT, SCRATCH, SCRATCH_MOUNT, keys_mount
from serving.kubernetes.spec import EMBEDDED, ServedVersion

GRPC_PORT, REST_PORT = 8500, 8501
CONNECTION_S = 30  # of a gRPC connection, and once more for the requests that it has
CONFIG, CONFIG_MOUNT = "config", "/config"
TOKENS, TOKENS_MOUNT, TOKENS_KEY = "access-tokens", "/access-tokens", "tokens"
MODEL_CONFIG, MONITORING_CONFIG = "models.config", "monitoring.config"


def server_container(served: ServedVersion) -> Object:
    """The engine's container: it listens on the Pod's address, and serves what the model config names."""
    embedded = served.settings.server_engine == EMBEDDED
    return {
        "name": "server",
        "image": served.settings.image,
        **(_embedded(served) if embedded else _tensorflow_serving()),
        "env": [{"name": "HOME", "value": SCRATCH_MOUNT}],
        "ports": [
            {"name": "grpc", "containerPort": GRPC_PORT},
            {"name": "rest", "containerPort": REST_PORT},
        ],
        **(_embedded_probes() if embedded else _tensorflow_serving_probes(served)),
        # Until no node sends new connections here, the server goes on as if nothing were.
        "lifecycle": {"preStop": {"sleep": {"seconds": LEAVE_S if embedded else LEAVE_S + DRAIN_S}}},
        "resources": SERVER[served.settings.server_engine],
        "securityContext": container_security(),
        "volumeMounts": [
            {"name": MODELS, "mountPath": MODELS_MOUNT, "readOnly": True},
            {"name": CONFIG, "mountPath": CONFIG_MOUNT, "readOnly": True},
            {"name": SCRATCH, "mountPath": SCRATCH_MOUNT},
            *(_doors_mounts(served) if embedded else []),
        ],
    }


def asks_for_tokens(served: ServedVersion) -> bool:
    """Whether the server asks clients for tokens; TensorFlow Serving has no such door."""
    return served.settings.server_engine == EMBEDDED and bool(served.settings.tokens_secret)


def _embedded(served: ServedVersion) -> Object:
    door = f"--access_tokens_file={TOKENS_MOUNT}/{TOKENS_KEY}" if asks_for_tokens(served) else "--insecure"
    return {
        "command": ["python", "-m", "serving.model_server"],
        "args": [
            "--host=0.0.0.0",
            *_ports_and_config(),
            "--default_label=stable",
            "--runtime=auto",
            f"--drain_timeout_seconds={DRAIN_S}",
            door,
            *([f"--trusted_keys={KEYS_MOUNT}"] if served.settings.trusted_keys_map else []),
        ],
    }


def _tensorflow_serving() -> Object:
    return {
        # Not the image's own entry point, a shell that wants a single model.
        "command": ["tensorflow_model_server"],
        "args": [*_ports_and_config(), "--allow_version_labels_for_unavailable_models=true"],
    }


def _ports_and_config() -> list[str]:
    # A Service that turns reaches new connections alone, so old ones end by themselves.
    age = f"grpc.max_connection_age_ms={CONNECTION_S}000,grpc.max_connection_age_grace_ms={CONNECTION_S}000"
    return [
        f"--port={GRPC_PORT}",
        f"--rest_api_port={REST_PORT}",
        f"--model_config_file={CONFIG_MOUNT}/{MODEL_CONFIG}",
        f"--monitoring_config_file={CONFIG_MOUNT}/{MONITORING_CONFIG}",
        f"--grpc_channel_arguments={age}",
    ]


def _doors_mounts(served: ServedVersion) -> list[Object]:
    tokens = [{"name": TOKENS, "mountPath": TOKENS_MOUNT, "readOnly": True}] if asks_for_tokens(served) else []
    return [*tokens, *keys_mount(served)]


def _embedded_probes() -> Object:
    """/healthz: the version has answered its golden requests, and the server is not draining; /livez: it answers."""
    return _probes(
        ready={"httpGet": {"path": "/healthz", "port": "rest"}}, alive={"httpGet": {"path": "/livez", "port": "rest"}}
    )


def _tensorflow_serving_probes(served: ServedVersion) -> Object:
    """A version's metadata is answered once it is loaded; its status, and gRPC's health service, also before."""
    metadata = f"/v1/models/{served.name}/versions/{served.version}/metadata"
    return _probes(ready={"httpGet": {"path": metadata, "port": "rest"}}, alive={"tcpSocket": {"port": "rest"}})


def _probes(ready: Object, alive: Object) -> Object:
    return {
        "startupProbe": {**ready, **every(2, LOAD_S)},
        "livenessProbe": {**alive, **every(10, 60)},
        "readinessProbe": {**ready, **every(5, 10)},
    }
