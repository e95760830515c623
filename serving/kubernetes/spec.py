"""Which version a cluster is to serve, and how."""

import re
from dataclasses import dataclass, field
from urllib.parse import urlsplit

from serving.kubernetes.names import object_name, version_name
from slipway.errors import InputError
from slipway.names import check_model_name, check_version

EMBEDDED, TENSORFLOW_SERVING = "embedded", "tensorflow_serving"
ENGINES = (EMBEDDED, TENSORFLOW_SERVING)
SERVER_IMAGES = {EMBEDDED: "slipway-serving:0.1.0", TENSORFLOW_SERVING: "tensorflow/serving:2.20.0"}

_DIGEST = re.compile(r"[0-9a-f]{64}")
_LABEL_NAME = re.compile(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?")
_OBJECT_NAME = re.compile(r"(?=.{1,253}$)[a-z0-9]([a-z0-9.-]*[a-z0-9])?")
_IMAGE = re.compile(r"[a-z0-9][A-Za-z0-9._:/@-]{0,254}")


@dataclass(frozen=True)
class ClusterSettings:
    """How a cluster serves any version; InputError, naming the key, for a value that makes no sense."""

    server_engine: str = EMBEDDED  # what serves: the embedded model server, or TensorFlow Serving
    server_image: str = ""  # the engine's image; "" is that of SERVER_IMAGES
    sync_image: str = "slipway-sync:0.1.0"  # the sidecar that mirrors the base path
    namespace: str = "slipway"
    replicas: int = 2  # of a version, at least
    max_replicas: int = 10  # of the live version, at most; the autoscaler goes between the two
    s3_secret: str = "slipway-s3"  # Secret whose keys are the AWS variables  # noqa: S105 - its name
    tokens_secret: str = "slipway-access-tokens"  # Secret whose key `tokens` is such a file  # noqa: S105 - its name
    trusted_keys_map: str = ""  # ConfigMap of public keys: what none of them has signed is not served; "" asks for none

    def __post_init__(self) -> None:
        if self.server_engine not in ENGINES:
            raise _wrong("server_engine", self.server_engine, f"one of {', '.join(ENGINES)}")
        for key, empty_is_fine in (("server_image", True), ("sync_image", False)):
            value = getattr(self, key)
            if not (_IMAGE.fullmatch(value) or (empty_is_fine and not value)):
                raise _wrong(key, value, "an image, such as registry.example.com/slipway-serving:0.1.0")
        if not _LABEL_NAME.fullmatch(self.namespace):
            raise _wrong("namespace", self.namespace, "1 to 63 lower-case letters, digits and '-'")
        if not 1 <= self.replicas <= 1000:
            raise _wrong("replicas", self.replicas, "1 to 1000")
        if not self.replicas <= self.max_replicas <= 1000:
            raise _wrong("max_replicas", self.max_replicas, f"replicas ({self.replicas}) to 1000")
        for key, empty_is_fine in (("s3_secret", False), ("tokens_secret", True), ("trusted_keys_map", True)):
            value = getattr(self, key)
            if not (_OBJECT_NAME.fullmatch(value) or (empty_is_fine and not value)):
                raise _wrong(key, value, "an object's name: lower-case letters, digits, '-' and '.'")

    @property
    def image(self) -> str:
        """The model server's image."""
        return self.server_image or SERVER_IMAGES[self.server_engine]


@dataclass(frozen=True)
class ServedVersion:
    """A version as a cluster is to serve it; InputError for what cannot be.

    digest: of the servable's manifest, 64 hex digits. base: s3://BUCKET/PREFIX, that the version is published below.
    """

    name: str
    version: int
    digest: str
    base: str
    s3_endpoint: str | None = None  # where that is not Amazon's
    settings: ClusterSettings = field(default_factory=ClusterSettings)

    def __post_init__(self) -> None:
        check_model_name(self.name)
        check_version(self.version)
        if not _DIGEST.fullmatch(self.digest):
            raise InputError(
                f"{self.name} version {self.version}: digest {self.digest!r:.80}; expected 64 hex digits of SHA-256. "
                "Register the version again."
            )
        parts = urlsplit(self.base)
        if parts.scheme != "s3" or not parts.netloc or parts.query or parts.fragment:
            raise InputError(
                f"base path {self.base!r:.120}: expected s3://BUCKET/PREFIX, which every node of a cluster reaches. "
                "Pass --base s3://BUCKET/PREFIX."
            )

    @property
    def object_name(self) -> str:
        """The name of what all versions of the model share."""
        return object_name(self.name)

    @property
    def version_name(self) -> str:
        """The name of what is this version's own."""
        return version_name(self.name, self.version)


def _wrong(key: str, value: object, expected: str) -> InputError:
    flag = key.replace("_", "-")
    return InputError(f"kubernetes.{key} is {value!r:.120}; expected {expected}. Edit it or pass --{flag}.")
