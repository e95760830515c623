"""The objects by which KServe serves a version: a ServingRuntime for each engine, and the model's InferenceService.

KServe's storage initializer fetches `storageUri` to /mnt/models, all keys with that prefix: hence the slash at its end,
or version 3 would come with version 30. Servers want a directory that is named by the version's number, so the runtime
copies it to one, below a base path of its own: the embedded server takes no link for a sealed version.
"""

from dataclasses import replace

from serving.kubernetes.objects import USER, Object, container_security, every, model_metadata, version_annotations
from serving.kubernetes.resources import DRAIN_S, LOAD_S, MODELS_SIZE, SERVER
from serving.kubernetes.server import TOKENS, TOKENS_KEY, TOKENS_MOUNT, asks_for_tokens
from serving.kubernetes.sidecar import SCRATCH, SCRATCH_MOUNT
from serving.kubernetes.spec import EMBEDDED, ENGINES, TENSORFLOW_SERVING, ServedVersion
from slipway.errors import InputError

_REST_PORT, _GRPC_PORT = 8080, 9000  # as KServe's own runtimes
_FETCHED = "/mnt/models"
_FORMATS = {EMBEDDED: "slipway", TENSORFLOW_SERVING: "tensorflow"}
_COPY = (
    f'base="{SCRATCH_MOUNT}/base" && rm -rf "$base" && mkdir -p "$base" && '
    f'cp -R {_FETCHED} "$base/$SLIPWAY_VERSION" && '
)
_SERVE = f'--port={_GRPC_PORT} --rest_api_port={_REST_PORT} --model_name="$SLIPWAY_MODEL" --model_base_path="$base"'


def kserve_objects(served: ServedVersion, canary_percent: int | None = None) -> list[Object]:
    """All of it, in the order in which it is applied.

    canary_percent: the share of requests that this version gets beside the one before it; None: all of them. InputError
    for a share that cannot be, and where signatures are asked for: KServe does not fetch them.
    """
    if canary_percent is not None and not 0 <= canary_percent <= 100:
        raise InputError(f"--canary-percent {canary_percent}: expected 0 to 100. Pass such a share.")
    if served.settings.trusted_keys_map:
        raise InputError(
            f"kubernetes.trusted_keys_map is {served.settings.trusted_keys_map!r}; expected none with KServe, which "
            "does not fetch signatures. Export --target kubernetes instead."
        )
    runtimes = [serving_runtime(_with_engine(served, engine)) for engine in ENGINES]
    return [_service_account(served), *runtimes, inference_service(served, canary_percent)]


def serving_runtime(served: ServedVersion) -> Object:
    """The ServingRuntime of an engine; it serves any version of any model."""
    tokens = asks_for_tokens(served)
    mount = {"name": TOKENS, "mountPath": TOKENS_MOUNT, "readOnly": True}
    volume = {"name": TOKENS, "secret": {"secretName": served.settings.tokens_secret}}
    engine = served.settings.server_engine
    return {
        "apiVersion": "serving.kserve.io/v1alpha1",
        "kind": "ServingRuntime",
        "metadata": {"name": _runtime_name(served), "namespace": served.settings.namespace},
        "spec": {
            "supportedModelFormats": [{"name": _FORMATS[engine], "version": "2", "autoSelect": False}],
            "protocolVersions": ["v1"],
            "containers": [
                {
                    "name": "kserve-container",
                    "image": served.settings.image,
                    "command": ["sh", "-c"],
                    "args": [_COPY + _program(served)],
                    "env": [{"name": "HOME", "value": SCRATCH_MOUNT}],
                    "ports": [{"containerPort": _REST_PORT, "protocol": "TCP"}],
                    **_probes(served),
                    "resources": SERVER[engine],
                    # Not the Pod's: Knative takes that only where it is told to.
                    "securityContext": {**container_security(), "runAsUser": USER, "runAsGroup": USER},
                    "volumeMounts": [{"name": SCRATCH, "mountPath": SCRATCH_MOUNT}, *([mount] if tokens else [])],
                }
            ],
            "volumes": [{"name": SCRATCH, "emptyDir": {"sizeLimit": MODELS_SIZE}}, *([volume] if tokens else [])],
        },
    }


def inference_service(served: ServedVersion, canary_percent: int | None = None) -> Object:
    """The model's InferenceService: this version, or a share of requests for it."""
    settings = served.settings
    canary = {} if canary_percent is None else {"canaryTrafficPercent": canary_percent}
    metadata = model_metadata(served) | {"annotations": version_annotations(served)}
    return {
        "apiVersion": "serving.kserve.io/v1beta1",
        "kind": "InferenceService",
        "metadata": metadata,
        "spec": {
            "predictor": {
                **canary,
                "serviceAccountName": served.object_name,
                "automountServiceAccountToken": False,
                "minReplicas": settings.replicas,
                "maxReplicas": settings.max_replicas,
                "model": {
                    "modelFormat": {"name": _FORMATS[settings.server_engine], "version": "2"},
                    "runtime": _runtime_name(served),
                    "storageUri": f"{served.base.rstrip('/')}/{served.name}/{served.version}/",
                    "env": [
                        {"name": "SLIPWAY_MODEL", "value": served.name},
                        {"name": "SLIPWAY_VERSION", "value": str(served.version)},
                    ],
                },
            }
        },
    }


def _service_account(served: ServedVersion) -> Object:
    """KServe gives its storage initializer the Secrets that this account names."""
    return {
        "apiVersion": "v1",
        "kind": "ServiceAccount",
        "metadata": model_metadata(served),
        "automountServiceAccountToken": False,
        "secrets": [{"name": served.settings.s3_secret}],
    }


def _with_engine(served: ServedVersion, engine: str) -> ServedVersion:
    """The same, by that engine; the image that was chosen is of the engine that was chosen."""
    settings = served.settings
    image = settings.server_image if engine == settings.server_engine else ""
    return replace(served, settings=replace(settings, server_engine=engine, server_image=image))


def _runtime_name(served: ServedVersion) -> str:
    return f"slipway-{served.settings.server_engine.replace('_', '-')}"


def _program(served: ServedVersion) -> str:
    if served.settings.server_engine == TENSORFLOW_SERVING:
        return f"exec tensorflow_model_server {_SERVE}"
    door = f"--access_tokens_file={TOKENS_MOUNT}/{TOKENS_KEY}" if asks_for_tokens(served) else "--insecure"
    ours = f"--host=0.0.0.0 --runtime=auto --drain_timeout_seconds={DRAIN_S} {door}"
    return f"exec python -m serving.model_server {_SERVE} {ours}"


def _probes(served: ServedVersion) -> Object:
    """Knative asks for readiness from the first second, and may know no startup probe: liveness waits instead."""
    ready: Object = {"httpGet": {"path": "/healthz", "port": _REST_PORT}}
    alive: Object = {"httpGet": {"path": "/livez", "port": _REST_PORT}}
    if served.settings.server_engine == TENSORFLOW_SERVING:  # it listens once its models are loaded
        ready = alive = {"tcpSocket": {"port": _REST_PORT}}
    return {
        "readinessProbe": {**ready, **every(5, 10)},
        "livenessProbe": {**alive, "initialDelaySeconds": LOAD_S, **every(10, 60)},
    }
