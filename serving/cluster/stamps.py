"""What is written on every object that is applied: whose it is, which base path it follows, and what was sent."""

import hashlib
import json
from collections.abc import Iterable, Mapping
from copy import deepcopy
from dataclasses import dataclass
from typing import Any

from serving.kubernetes.names import MODEL_ANNOTATION, NAME_LABEL, VERSION_LABEL, object_name
from slipway.errors import ConflictError

Object = Mapping[str, Any]

MANAGED_BY, SLIPWAY = "app.kubernetes.io/managed-by", "slipway"
BASE_ANNOTATION = "slipway/base-path"
SENT_ANNOTATION = "slipway/object-digest"  # of what was sent: who finds it there need not send it again
ANSWERED_ANNOTATION = "slipway/answered-digest"  # of all that was sent for a version whose Pods answered as they should


@dataclass(frozen=True)
class Owner:
    """One model, as one base path has it. base: with the S3 server's address, where that is not Amazon's."""

    model: str
    base: str

    @property
    def selector(self) -> str:
        """The labels of the model's objects, as a query asks for them."""
        return f"{MANAGED_BY}={SLIPWAY},{NAME_LABEL}={object_name(self.model)}"

    def marked(self, document: Object) -> dict[str, Any]:
        """The object with the base path that it follows."""
        marked: dict[str, Any] = deepcopy(dict(document))
        marked["metadata"].setdefault("annotations", {})[BASE_ANNOTATION] = self.base
        return marked

    def may_delete(self, present: Object) -> bool:
        """Whether an object of the model bears our base path: what people applied without one is theirs."""
        return bool(_annotation(present, BASE_ANNOTATION) == self.base)

    def stamped(self, document: Object) -> dict[str, Any]:
        """The object with our annotations, as it is to be sent. Its digest is without the number of replicas."""
        stamped = self.marked(document)
        spec = {key: value for key, value in stamped.get("spec", {}).items() if key != "replicas"}
        text = json.dumps({**stamped, "spec": spec}, sort_keys=True, separators=(",", ":"))
        stamped["metadata"]["annotations"][SENT_ANNOTATION] = hashlib.sha256(text.encode()).hexdigest()
        return stamped

    def digest_of(self, documents: Iterable[Object]) -> str:
        """What tells objects, as they are to be sent, from others."""
        sent = (_annotation(self.stamped(each), SENT_ANNOTATION) for each in documents)
        return hashlib.sha256("".join(sent).encode()).hexdigest()

    def check(self, present: Object) -> None:
        """ConflictError unless an object that is there is ours, of this model and of this base path."""
        metadata = present.get("metadata", {})
        labels, annotations = metadata.get("labels") or {}, metadata.get("annotations") or {}
        place = f"{present.get('kind')} {metadata.get('name')!r} in namespace {metadata.get('namespace')!r}"
        if labels.get(MANAGED_BY) != SLIPWAY or annotations.get(MODEL_ANNOTATION) != self.model:
            raise ConflictError(
                f"{place} is there already and not of model {self.model!r} by Slipway's labels; expected that name to "
                "be free. Nothing of it is changed: pass another --namespace, or move it away."
            )
        base = annotations.get(BASE_ANNOTATION)
        if base not in {self.base, None}:  # None: applied by kubectl, from what somebody wrote
            raise ConflictError(
                f"{place} follows base path {base}, and this pass is for {self.base}; expected the same one. Its Pods "
                "are left as they are: pass the other --base, or another --namespace."
            )


def owner_of(model: str, base: str, s3_endpoint: str | None) -> Owner:
    """The model as that base path has it, on Amazon's S3 or on another server."""
    return Owner(model, f"{base.rstrip('/')}{f' at {s3_endpoint}' if s3_endpoint else ''}")


def sent_before(present: Object, stamped: Object) -> bool:
    """Whether an object that is there is what `stamped` asks for: it was sent, and nobody has turned the Service."""
    if _annotation(present, SENT_ANNOTATION) != _annotation(stamped, SENT_ANNOTATION):
        return False
    return present.get("kind") != "Service" or selector_of(present) == selector_of(stamped)


def answered_digest(deployment: Object) -> str:
    """Of what was sent when its Pods last answered; "" if they have not."""
    return str(_annotation(deployment, ANSWERED_ANNOTATION) or "")


def selector_of(service: Object) -> Mapping[str, str]:
    """The labels of the Pods that a Service reaches."""
    found: Mapping[str, str] = service.get("spec", {}).get("selector") or {}
    return found


def version_of(labels: Mapping[str, str]) -> int | None:
    """The version that labels, or a Service's selector, name; None if they name none."""
    text = labels.get(VERSION_LABEL, "")
    return int(text) if text.isdecimal() else None


def _annotation(document: Object, key: str) -> Any:
    return (document.get("metadata", {}).get("annotations") or {}).get(key)
