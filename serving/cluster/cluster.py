"""One namespace of a cluster: objects of one model are read, applied by the server, and deleted."""

from collections.abc import Mapping, Sequence
from typing import Any

from serving.cluster.api import Api
from serving.cluster.calls import KINDS, Call, Kind, kind_of
from serving.cluster.refusals import FieldConflictError
from serving.cluster.stamps import ANSWERED_ANNOTATION, Object, Owner, sent_before
from serving.kubernetes.names import VERSION_LABEL
from slipway.errors import ConflictError, NotFoundError

_FIELD_MANAGER = "slipway"
_CONFLICTS = 4  # an object that changes more often than that while it is applied is for the next pass
_OF_VERSIONS = ("Deployment", "Service", "ConfigMap")  # as they are deleted: the Pods first
_OF_MODELS = ("HorizontalPodAutoscaler", "PodDisruptionBudget", "NetworkPolicy", "ServiceAccount")


class Cluster:
    """A namespace, by one user's rights. Errors are those of `Api.ask`."""

    def __init__(self, api: Api, namespace: str) -> None:
        self.api = api
        self.namespace = namespace

    def find(self, kind: str, name: str) -> Object | None:
        """The object as it is now; None if there is none."""
        try:
            found: Object = self.api.ask(Call("get", KINDS[kind], self.namespace, name))
        except NotFoundError:
            return None
        return found

    def listed(self, kind: str, selector: str) -> Sequence[Object]:
        """The objects whose labels `selector` takes, each with its kind."""
        answer = self.api.ask(Call("list", KINDS[kind], self.namespace, query={"labelSelector": selector}))
        return [{"kind": kind, **each} for each in answer.get("items") or []]

    def apply(self, owner: Owner, document: Object) -> bool:
        """Have the object be as `document` says; whether anything was sent for that.

        Fields that others have set, and `document` does not, stay; so does the number of replicas of a Deployment that
        is there: it is its autoscaler's. ConflictError, and nothing is changed, for an object that is not of `owner`,
        and for a field that another manager has set.
        """
        kind, stamped, sent = kind_of(document), owner.stamped(document), False
        for attempt in range(_CONFLICTS):
            present = self.find(str(document["kind"]), stamped["metadata"]["name"])
            if present is not None:
                owner.check(present)
                if sent_before(present, stamped):
                    return sent  # an answer may have been lost on its way
            sent = True
            try:
                self._send(kind, stamped, present)
            except FieldConflictError:
                raise
            except ConflictError:
                if attempt + 1 == _CONFLICTS:
                    raise
            else:
                return True
        raise AssertionError("the last conflict is raised")

    def scale(self, deployment: Object, replicas: int) -> None:
        """Have a Deployment, as it was read, have so many Pods; ConflictError if it has changed since."""
        # Not applied: the field would be ours then, and its autoscaler's at the same time.
        document = {"metadata": _as_read(deployment), "spec": {"replicas": replicas}}
        self._merge(deployment, document, "scale")

    def note_answered(self, deployment: Object, digest: str) -> None:
        """Write on a Deployment that its Pods answered, once they were what `digest` stands for."""
        self._merge(deployment, {"metadata": {"annotations": {ANSWERED_ANNOTATION: digest}}}, "answered")

    def delete_version(self, owner: Owner, version: int) -> int:
        """Delete what is that version's own; how many objects went."""
        return self._delete(owner, _OF_VERSIONS, f"{owner.selector},{VERSION_LABEL}={version}")

    def delete_model(self, owner: Owner) -> int:
        """Delete all that is of the model; how many objects went."""
        return self._delete(owner, (*_OF_VERSIONS, *_OF_MODELS), owner.selector)

    def versions(self, owner: Owner) -> Mapping[int, Object | None]:
        """The versions that have any object, with their Deployments; None where there is no Deployment.

        ConflictError if one follows another base path.
        """
        found: dict[int, Object | None] = {}
        for kind in reversed(_OF_VERSIONS):
            for each in self.listed(kind, f"{owner.selector},{VERSION_LABEL}"):
                owner.check(each)
                found[int(each["metadata"]["labels"][VERSION_LABEL])] = each if kind == "Deployment" else None
        return found

    def _send(self, kind: Kind, stamped: Mapping[str, Any], present: Object | None) -> None:
        """Apply on the server; ConflictError if the object is not `present` any more."""
        document = dict(stamped)
        if present is not None:
            document["metadata"] = {**stamped["metadata"], **_as_read(present)}
            replicas = present.get("spec", {}).get("replicas")
            if replicas is not None:  # left out, it would become 1: what nobody applies any more goes
                document["spec"] = {**stamped["spec"], "replicas": replicas}
        self.api.ask(
            Call(
                "patch",
                kind,
                self.namespace,
                stamped["metadata"]["name"],
                query={"fieldManager": _FIELD_MANAGER, "force": "false"},
                document=document,
                content_type="application/apply-patch+yaml",
            )
        )

    def _merge(self, deployment: Object, document: Object, purpose: str) -> None:
        self.api.ask(
            Call(
                "patch",
                KINDS["Deployment"],
                self.namespace,
                deployment["metadata"]["name"],
                query={"fieldManager": f"{_FIELD_MANAGER}-{purpose}"},
                document=document,
                content_type="application/merge-patch+json",
            )
        )

    def _delete(self, owner: Owner, kinds: Sequence[str], selector: str) -> int:
        found = [(kind, each) for kind in kinds for each in self.listed(kind, selector)]
        for _, each in found:
            owner.check(each)
        return sum(self._delete_one(kind, each) for kind, each in found if owner.may_delete(each))

    def _delete_one(self, kind: str, present: Object) -> bool:
        """False if it has gone, or is another one by now."""
        metadata = present["metadata"]
        if metadata.get("deletionTimestamp"):
            return False
        options = {
            "apiVersion": "v1",
            "kind": "DeleteOptions",
            "propagationPolicy": "Background",
            "preconditions": {"uid": metadata["uid"]},  # never one of the same name that came in its place
        }
        try:
            self.api.ask(Call("delete", KINDS[kind], self.namespace, metadata["name"], document=options))
        except (NotFoundError, ConflictError):
            return False
        return True


def _as_read(present: Object) -> dict[str, Any]:
    """What has a patch refused if the object is no longer the one that was read."""
    return {"resourceVersion": present["metadata"]["resourceVersion"]}
