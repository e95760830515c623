"""Objects as an API server keeps them: applied field by field, each field with the manager that set it."""

import itertools
import uuid
from copy import deepcopy

from tests.kubernetes_server import statuses

_OF_THE_SERVER = {"resourceVersion", "uid", "generation", "creationTimestamp", "managedFields"}


class RefusedError(Exception):
    """What is answered instead; a Status."""

    def __init__(self, status):
        super().__init__(status["message"])
        self.status = status


def leaves(tree, path=()):
    """Path -> value of every field; lists, and a Service's selector, are one field (`atomic`)."""
    found = {}
    for key, value in tree.items():
        here = (*path, key)
        atomic = not isinstance(value, dict) or not value or here == ("spec", "selector")
        found.update({here: value} if atomic else leaves(value, here))
    return found


def put(tree, path, value):
    for key in path[:-1]:
        tree = tree.setdefault(key, {})
    tree[path[-1]] = deepcopy(value)


def take(tree, path):
    for key in path[:-1]:
        tree = tree.get(key, {})
    tree.pop(path[-1], None)


class Objects:
    """All objects of a cluster, by resource, namespace and name."""

    def __init__(self, namespaces):
        self.namespaces = set(namespaces)
        self._there = {}
        self._managers = {}  # key -> path -> managers
        self._numbers = itertools.count(1)

    def get(self, key):
        return self._there.get(key)

    def listed(self, resource, namespace, selector):
        wanted = [term.partition("=") for term in selector.split(",") if term]
        for (kind, space, _), each in sorted(self._there.items()):
            labels = each["metadata"].get("labels", {})
            fits = all(key in labels and (not has or labels[key] == value) for key, has, value in wanted)
            if (kind, space) == (resource, namespace) and fits:
                yield each

    def apply(self, key, group, sent, manager):
        """Server-side apply without force. Refused for another manager's field, and for a version that is not there."""
        resource, namespace, name = key
        if namespace not in self.namespaces:
            raise RefusedError(statuses.not_found("namespaces", "", namespace))
        present = self._there.get(key)
        seen = sent["metadata"].get("resourceVersion")
        if seen is not None and (present is None or seen != present["metadata"]["resourceVersion"]):
            raise RefusedError(statuses.modified(resource, group, name))
        metadata = {field: value for field, value in sent["metadata"].items() if field not in _OF_THE_SERVER}
        fields = leaves({**sent, "metadata": metadata})
        self._check_valid(sent, group, present)
        owners = self._managers.setdefault(key, {})
        there = leaves(present) if present else {}
        others = {
            "." + ".".join(path): next(iter(owners[path] - {manager}))
            for path, value in fields.items()
            if owners.get(path, set()) - {manager} and there.get(path) != value
        }
        if others:
            raise RefusedError(statuses.field_conflict(others))
        made = deepcopy(present) if present else {"metadata": {"uid": str(uuid.uuid4()), "generation": 0}}
        for path in [path for path, who in owners.items() if who == {manager} and path not in fields]:
            take(made, path)
            del owners[path]
        for path, value in fields.items():
            put(made, path, value)
            owners.setdefault(path, set()).add(manager)
        if resource == "deployments":
            made["spec"].setdefault("replicas", 1)
        if not present or made.get("spec") != present.get("spec"):
            made["metadata"]["generation"] += 1
        return self._keep(key, made), present is None

    def merge(self, key, group, sent, manager):
        """A merge patch of what is there; its fields become the manager's."""
        resource, _, name = key
        present = self._there.get(key)
        if present is None:
            raise RefusedError(statuses.not_found(resource, group, name))
        seen = present["metadata"]["resourceVersion"]
        if sent["metadata"].pop("resourceVersion", seen) != seen:
            raise RefusedError(statuses.modified(resource, group, name))
        fields = {key: value for key, value in sent.items() if value}
        for path, value in leaves(fields).items():
            self.set_by(manager, key, path, value)
        return self._there[key]

    def set_by(self, manager, key, path, value):
        """Another manager sets a field, as an autoscaler or a person does."""
        made = deepcopy(self._there[key])
        put(made, path, value)
        made["metadata"]["generation"] += path[0] == "spec"
        self._managers[key][path] = {manager}
        self._keep(key, made)

    def touch(self, key):
        """It changes, as when its status does."""
        self._keep(key, deepcopy(self._there[key]))

    def delete(self, key, group, uid):
        resource, _, name = key
        present = self._there.get(key)
        if present is None:
            raise RefusedError(statuses.not_found(resource, group, name))
        if uid not in {None, present["metadata"]["uid"]}:
            raise RefusedError(statuses.wrong_uid(resource, group, name, uid, present["metadata"]["uid"]))
        del self._there[key]
        self._managers.pop(key, None)

    def _keep(self, key, made):
        made["metadata"]["resourceVersion"] = str(next(self._numbers))
        self._there[key] = made
        return made

    @staticmethod
    def _check_valid(sent, group, present):
        """Two of the rules that objects are held against."""
        kind, name = sent["kind"], sent["metadata"]["name"]
        before = (present or {}).get("spec", {}).get("selector")
        after = sent.get("spec", {}).get("selector")
        if kind == "Deployment" and before is not None and before != after:
            raise RefusedError(statuses.invalid(kind, group, name, "spec.selector", f"{after}: field is immutable"))
        replicas = sent.get("spec", {}).get("replicas", 1)
        if replicas < 0:
            why = f"{replicas}: must be greater than or equal to 0"
            raise RefusedError(statuses.invalid(kind, group, name, "spec.replicas", why))
